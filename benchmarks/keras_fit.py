"""What OneCycle and a policy of three cost in Keras, as ratios to a plain `fit` in one process.

python benchmarks/keras_fit.py             # TensorFlow, JAX and PyTorch
KERAS_BACKEND=jax python benchmarks/keras_fit.py --only "3 layers, spe 16"

Every case is a fit in a thread that is let go for some epochs at a time, so all of them are warm
and can be measured in turns. The same fit begun twice may differ by some percent, for as long as
it runs, so each model has several processes; a second plain case shows what noise is left. The
first sample of a case, with its tracing, is shown apart.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from processes import answer, answers, arguments
from timing import compare, measure, pool

STEPS, BATCH, FEATURES = 256, 32, 16
LAYERS = {"3 layers": 2, "31 layers": 30}
# Models and steps_per_execution.
CASES = [f"{layers}, spe {spe}" for layers in LAYERS for spe in (1, 16)]
# Of the median ratio to a plain fit with the same steps_per_execution.
BOUND = 1.05
BOUNDED = ("OneCycle", "policy of three")
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
# The models are too small to share among threads, and idle threads that wait blur the times.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
EPOCHS = 4096
ROUNDS = 9
HEADER = (
    "model             callbacks         bound    ratio  [quartiles]"
    "                                     first sample"
)
# Seconds that a sample takes at least; what is shorter is blurred by the switch between threads.
SAMPLE = 0.4


def build(layers: int, steps_per_execution: int) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(32, activation="relu") for _ in range(layers)]
    model = keras.Sequential([keras.Input((FEATURES,)), *hidden, keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9, weight_decay=1e-4)
    model.compile(optimizer, loss="mse", steps_per_execution=steps_per_execution)
    return model


def callbacks() -> dict[str, Callable[[], list[Any]]]:
    import keras

    import lrsched
    import lrsched_tf

    steps = EPOCHS * STEPS
    policy = lrsched.Policy(
        lr=lrsched.one_cycle(1e-3, steps),
        momentum=lrsched.one_cycle_momentum(steps),
        weight_decay=lrsched.cosine(1e-4, 0.0, steps),
    )

    class FromHost(keras.callbacks.Callback):
        """What other ports do: the lr is set from Python, batch by batch."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 1e-3

    return {
        "plain": list,
        "plain, again": list,
        "OneCycle": lambda: [lrsched_tf.OneCycle(1e-3, steps)],
        "policy of three": lambda: [lrsched_tf.ScheduleCallback(policy)],
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


def measured(case: str, rounds: int) -> dict[str, Any]:
    """The times of all rounds, and of the first sample of each case."""
    layers, spe = case.split(", spe ")
    depth, steps_per_execution = LAYERS[layers], int(spe)
    epochs = Gate.epochs_for(lambda count: Fit(depth, steps_per_execution, [], count))
    others = callbacks().items()
    fits = {name: Fit(depth, steps_per_execution, make(), epochs) for name, make in others}
    first = {name: fit.first for name, fit in fits.items()}
    return {"times": measure(dict(fits), rounds), "first": first}


def show(case: str, found: list[dict[str, Any]]) -> None:
    for name, ratio in compare(pool(one["times"] for one in found), "plain").items():
        goal = f"{BOUND:.2f}" if name in BOUNDED else "    "
        first = statistics.median(one["first"][name] for one in found)
        print(f"{case:<17} {name:<17} {goal}  {ratio}   {first:6.2f} s", flush=True)


def environments() -> Iterator[tuple[str, dict[str, str]]]:
    """The backends that are installed, or the one that is asked for, and their environments."""
    asked = os.environ.get("KERAS_BACKEND")
    for backend in BACKENDS if asked is None else [asked]:
        if find_spec(BACKENDS[backend]) is not None:
            yield backend, {**ONE_THREAD, "KERAS_BACKEND": backend}


def main() -> None:
    asked = arguments(__doc__, CASES, ROUNDS).parse_args()
    if asked.in_process:
        answer(measured(asked.in_process, asked.rounds))
    for backend, environment in environments():
        print(f"{backend}\n{HEADER}", flush=True)
        for case in asked.only or CASES:
            # Keras on PyTorch takes one step at a time.
            if backend != "torch" or case.endswith("spe 1"):
                show(case, answers(__file__, case, asked, environment))


if __name__ == "__main__":
    main()
