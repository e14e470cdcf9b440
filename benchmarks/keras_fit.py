"""What OneCycle costs in Keras, as ratios to a plain `fit` in the same process.

python benchmarks/keras_fit.py             # TensorFlow, JAX and PyTorch, a process for each
KERAS_BACKEND=jax python benchmarks/keras_fit.py --here

Every case is a `fit` of its own in a thread that is let go for one epoch at a time, so all of them
are warm and can be measured in turns. The first epoch, which traces the step, is shown apart.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from timing import ratios

STEPS, BATCH, FEATURES = 256, 32, 16
LAYERS = {"3 layers": 2, "31 layers": 30}
# Of the median ratio to a plain fit with the same steps_per_execution.
BOUND = 1.05
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
# The models are too small to share among threads, and idle threads that wait blur the times.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
EPOCHS = 4096


def build(layers: int, steps_per_execution: int) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(32, activation="relu") for _ in range(layers)]
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    model.compile(optimizer, loss="mse", steps_per_execution=steps_per_execution)
    return model


def callbacks() -> dict[str, Callable[[], list[Any]]]:
    import keras

    import lrsched
    import lrsched_tf

    class FromHost(keras.callbacks.Callback):
        """What other ports do: the lr is set from Python, batch by batch."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 1e-3

    cyclical = lrsched.cyclical(1e-4, 1e-3, 2 * STEPS, mode="triangular2")
    return {
        "plain": list,
        "OneCycle": lambda: [lrsched_tf.OneCycle(1e-3, EPOCHS * STEPS)],
        "OneCycle, lr alone": lambda: [lrsched_tf.OneCycle(1e-3, EPOCHS * STEPS, momentum=None)],
        "endless, computed": lambda: [lrsched_tf.ScheduleCallback(cyclical)],
        "lr from the host": lambda: [FromHost()],
    }


class Fit:
    """A `fit` that runs one epoch each time it is called."""

    def __init__(self, layers: int, steps_per_execution: int, others: list[Any]) -> None:
        import keras
        import numpy as np

        go, done = threading.Semaphore(0), threading.Semaphore(0)

        class Wait(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                go.acquire()

        class Tell(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                done.release()

        rng = np.random.default_rng(0)
        x = rng.normal(size=(STEPS * BATCH, FEATURES)).astype("float32")
        model = build(layers, steps_per_execution)
        self._go, self._done = go, done
        threading.Thread(
            target=model.fit,
            args=(x, x[:, :1]),
            kwargs={
                "batch_size": BATCH,
                "epochs": EPOCHS,
                "verbose": 0,
                "shuffle": False,
                "callbacks": [Wait(), *others, Tell()],
            },
            daemon=True,
        ).start()
        start = time.perf_counter()
        self()
        self.first_epoch = time.perf_counter() - start

    def __call__(self) -> None:
        self._go.release()
        self._done.acquire()


def show(layers: str, steps_per_execution: int, rounds: int) -> None:
    names = callbacks()
    if steps_per_execution > 1:
        names = {name: names[name] for name in ("plain", "OneCycle")}
    fits = {name: Fit(LAYERS[layers], steps_per_execution, make()) for name, make in names.items()}
    measured = ratios(dict(fits), "plain", rounds=rounds)
    for name, ratio in measured.items():
        goal = f"{BOUND:.2f}" if name.startswith("OneCycle") else "    "
        first = fits[name].first_epoch
        print(
            f"{layers:<10} {steps_per_execution:>4}  {name:<20} {goal}  {ratio}   {first:6.2f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--here", action="store_true", help="only the backend of this process")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    if not arguments.here:
        for backend, package in BACKENDS.items():
            if find_spec(package) is not None:
                subprocess.run(
                    [sys.executable, __file__, "--here", "--rounds", str(arguments.rounds)],
                    env={**os.environ, **ONE_THREAD, "KERAS_BACKEND": backend},
                    check=True,
                )
        return
    import keras

    backend = keras.backend.backend()
    print(f"{backend}: time of an epoch over that of a plain fit")
    print("model       spe  callbacks            bound    ratio  [quartiles]           first epoch")
    for layers in LAYERS:
        for steps_per_execution in (1, 16) if backend != "torch" else (1,):
            show(layers, steps_per_execution, arguments.rounds)
    # The fits wait for one more epoch, for ever.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
