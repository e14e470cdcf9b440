"""The process that runs the PyTorch part of an experiment."""

from lrsched.experiments.runner import run_process
from lrsched_torch.experiments.loop import TorchLoop

if __name__ == "__main__":
    run_process("torch", TorchLoop)
