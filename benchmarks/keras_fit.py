"""What OneCycle costs in Keras, as ratios to a plain `fit` in the same process.

python benchmarks/keras_fit.py             # TensorFlow, JAX and PyTorch
KERAS_BACKEND=jax python benchmarks/keras_fit.py --only "3 layers, spe 16"

Every model has a process of its own, and every case in it is one fit or several, in threads that
are let go for some epochs at a time, so all of them are warm and can be measured in turns. The
same fit begun twice may differ by some percent, for as long as it runs; a second plain case shows
how much. The first sample of a case, with its tracing, is shown apart.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from timing import ratios

STEPS, BATCH, FEATURES = 256, 32, 16
LAYERS = {"3 layers": 2, "31 layers": 30}
# Models and steps_per_execution.
CASES = [f"{layers}, spe {spe}" for layers in LAYERS for spe in (1, 16)]
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
# Fits of each case. Among a dozen, pipelines of TensorFlow may wait for each other for ever.
COPIES = {"tensorflow": 1, "jax": 3, "torch": 1}
# Seconds that a sample takes at least; what is shorter is blurred by the switch between threads.
SAMPLE = 0.4


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

    import lrsched_tf

    class FromHost(keras.callbacks.Callback):
        """What other ports do: the lr is set from Python, batch by batch."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 1e-3

    return {
        "plain": list,
        "plain, again": list,
        "OneCycle": lambda: [lrsched_tf.OneCycle(1e-3, EPOCHS * STEPS)],
        "lr from the host": lambda: [FromHost()],
    }


class Gate:
    """Lets a training in another thread run for some epochs each time it is called.

    Args:
        epochs: So many, so that the time is long enough to be measured.
    """

    def __init__(self, epochs: int) -> None:
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._epochs, self._begun, self._ended = epochs, 0, 0

    def wait(self) -> None:
        """Called before each epoch."""
        if self._begun % self._epochs == 0:
            self._go.acquire()
        self._begun += 1

    def tell(self) -> None:
        """Called after each epoch."""
        self._ended += 1
        if self._ended % self._epochs == 0:
            self._done.release()

    def around(self, *callbacks: Any) -> list[Any]:
        """The callbacks, between one that waits and one that tells."""
        import keras

        first = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self.wait())
        last = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: self.tell())
        return [first, *callbacks, last]

    def __call__(self) -> None:
        self._go.release()
        self._done.acquire()

    @staticmethod
    def epochs_for(begin: Callable[[int], Callable[[], object]]) -> int:
        """Epochs that take `SAMPLE` seconds, of a training that `begin(epochs)` starts."""
        one = begin(1)
        one()
        start = time.perf_counter()
        for _ in range(3):
            one()
        return math.ceil(SAMPLE / ((time.perf_counter() - start) / 3))


def data() -> tuple[Any, Any]:
    import numpy as np

    x = np.random.default_rng(0).normal(size=(STEPS * BATCH, FEATURES)).astype("float32")
    return x, x[:, :1]


class Fit:
    """A `fit` that runs some epochs each time it is called."""

    def __init__(self, layers: int, steps_per_execution: int, others: list[Any], epochs: int):
        self._gate = Gate(epochs)
        options = {"batch_size": BATCH, "epochs": EPOCHS, "verbose": 0, "shuffle": False}
        threading.Thread(
            target=build(layers, steps_per_execution).fit,
            args=data(),
            kwargs={**options, "callbacks": self._gate.around(*others)},
            daemon=True,
        ).start()
        start = time.perf_counter()
        self()
        self.first = time.perf_counter() - start

    def __call__(self) -> None:
        self._gate()


def show(case: str, rounds: int) -> None:
    layers, spe = case.split(", spe ")
    depth, steps_per_execution = LAYERS[layers], int(spe)
    if steps_per_execution > 1 and os.environ["KERAS_BACKEND"] == "torch":
        return  # Keras takes one step at a time there
    epochs = Gate.epochs_for(lambda count: Fit(depth, steps_per_execution, [], count))

    fits: dict[str, list[Fit]] = {name: [] for name in callbacks()}
    for _ in range(COPIES[os.environ["KERAS_BACKEND"]]):
        for name, make in callbacks().items():
            fits[name].append(Fit(depth, steps_per_execution, make(), epochs))
    cases = {name: partial(run_all, copies) for name, copies in fits.items()}
    for name, ratio in ratios(cases, "plain", rounds=rounds).items():
        goal = f"{BOUND:.2f}" if name == "OneCycle" else "    "
        first = fits[name][0].first
        print(f"{case:<17} {name:<17} {goal}  {ratio}   {first:6.2f} s", flush=True)


def run_all(fits: list[Fit]) -> None:
    for fit in fits:
        fit()


def in_each_process(
    script: str, doc: str | None, cases: Iterable[str], header: str
) -> tuple[str, int] | None:
    """The case to measure and the rounds to run; None where each has had a process for itself."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--only", choices=list(cases), help="this case, in this process")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    if arguments.only is not None:
        return str(arguments.only), int(arguments.rounds)
    for backend, package in BACKENDS.items():
        if find_spec(package) is None:
            continue
        print(f"{backend}\n{header}", flush=True)
        for case in cases:
            subprocess.run(
                [sys.executable, script, "--only", case, "--rounds", str(arguments.rounds)],
                env={**os.environ, **ONE_THREAD, "KERAS_BACKEND": backend},
                check=True,
            )
    return None


def leave() -> None:
    """End the process, although its fits wait for one more epoch, for ever."""
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    header = (
        "model             callbacks         bound    ratio  [quartiles]"
        "                                     first sample"
    )
    chosen = in_each_process(__file__, __doc__, CASES, header)
    if chosen is not None:
        show(*chosen)
        leave()


if __name__ == "__main__":
    main()
