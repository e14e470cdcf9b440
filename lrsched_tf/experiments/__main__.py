"""The process that runs the Keras part of an experiment."""

from lrsched.experiments.runner import run_process
from lrsched_tf.experiments.loop import KerasLoop

if __name__ == "__main__":
    run_process("keras", KerasLoop)
