"""What a range test costs in Keras, as ratios to a plain `fit` over the same batches.

python benchmarks/keras_range_test.py             # TensorFlow, JAX and PyTorch
KERAS_BACKEND=jax python benchmarks/keras_range_test.py --only "3 layers"

Every case is a loop of its own in a thread that is let go for some steps at a time, as in
keras_fit.py. Peers run `train_on_batch` and write the lr from the host, or do so in a callback of
`fit`. What a range test costs once is shown apart.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from keras_fit import BATCH, EPOCHS, LAYERS, ROUNDS, STEPS, Gate, build, data, environments
from processes import answer, answers, arguments
from timing import compare, measure, pool

# Of the median ratio to a plain fit, on TensorFlow and JAX.
BOUND = 1.10
ONCE_ROUNDS = 5


def reading(from_host: bool) -> Any:
    """Reads the loss of each batch; writes lr and metrics from Python, too, if asked to."""
    import keras

    class Reading(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.losses: list[float] = []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if from_host:
                self.model.reset_metrics()
                self.model.optimizer.learning_rate = 1e-5

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.losses.append((logs or {})["loss"])

    return Reading()


def plain(model: Any, gate: Gate) -> None:
    model.fit(*data(), callbacks=gate.around(), **fit_arguments())


def losses_read(model: Any, gate: Gate) -> None:
    model.fit(*data(), callbacks=gate.around(reading(from_host=False)), **fit_arguments())


def from_host(model: Any, gate: Gate) -> None:
    """What finders in the form of a callback do."""
    model.fit(*data(), callbacks=gate.around(reading(from_host=True)), **fit_arguments())


def ours(model: Any, gate: Gate) -> None:
    import lrsched_tf

    sweep = {"start_lr": 1e-7, "end_lr": 1e-5, "num_steps": EPOCHS * STEPS, "stop_factor": None}
    finder = lrsched_tf.LRFinder(**sweep)
    model.fit(*data(), callbacks=gate.around(finder), **fit_arguments())


def on_batches(model: Any, gate: Gate) -> None:
    """As keras_lr_finder would on Keras 3."""
    x, y = data()
    losses = []
    while True:
        gate.wait()
        for start in range(0, len(x), BATCH):
            model.optimizer.learning_rate = 1e-5
            rows = slice(start, start + BATCH)
            losses.append(float(model.train_on_batch(x[rows], y[rows])))
        gate.tell()


CASES: dict[str, Callable[[Any, Gate], None]] = {
    "plain": plain,
    "losses read": losses_read,
    "LRFinder": ours,
    "lr from the host": from_host,
    "train_on_batch": on_batches,
}


def fit_arguments() -> dict[str, Any]:
    return {"batch_size": BATCH, "epochs": EPOCHS, "verbose": 0, "shuffle": False}


def begin(case: str, layers: int, epochs: int) -> Gate:
    """The case under way, and what lets it go for so many epochs."""
    gate = Gate(epochs)
    threading.Thread(target=partial(CASES[case], build(layers, 1), gate), daemon=True).start()
    return gate


def measured(layers: str, rounds: int) -> dict[str, Any]:
    """The times of all rounds, and the seconds of what is done once."""
    epochs = Gate.epochs_for(lambda count: begin("plain", LAYERS[layers], count))
    cases = {name: begin(name, LAYERS[layers], epochs) for name in CASES}
    return {"times": measure(cases, rounds), "once": once(layers)}


def once(layers: str) -> dict[str, float]:
    """Seconds of a whole test of 100 steps, and what in it is no step."""
    import lrsched_tf
    from lrsched.rewind.snapshot import Snapshot
    from lrsched_tf.rewind.roots import snapshot_of

    model, (x, y) = build(LAYERS[layers], 1), data()
    fit = partial(model.fit, x, y, batch_size=BATCH, verbose=0, shuffle=False, steps_per_epoch=100)
    find = partial(lrsched_tf.lr_find, model, x, y, batch_size=BATCH, shuffle=False, num_steps=100)
    first = seconds(fit)
    held: list[Snapshot] = []

    def check() -> None:
        held[-1].restore()
        if held[-1].differences():
            raise AssertionError(held[-1].differences())

    actions = {
        "a fit of 100 steps": fit,
        "lr_find of 100 steps": find,
        "  of which the snapshot": lambda: held.append(snapshot_of(model)),
        "  of which restoring": check,
    }
    taken = {
        name: statistics.median(seconds(action) for _ in range(ONCE_ROUNDS))
        for name, action in actions.items()
    }
    return {"the first fit, traced": first, **taken}


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def show(layers: str, found: list[dict[str, Any]]) -> None:
    for name, ratio in compare(pool(one["times"] for one in found), "plain").items():
        goal = f"{BOUND:.2f}" if name == "LRFinder" else "    "
        print(f"{layers:<10}  {name:<18} {goal}  {ratio}", flush=True)
    for name in found[0]["once"]:
        taken = statistics.median(one["once"][name] for one in found)
        print(f"{layers:<10}  {name:<34} {taken:8.4f} s", flush=True)


def main() -> None:
    asked = arguments(__doc__, LAYERS, ROUNDS).parse_args()
    if asked.in_process:
        answer(measured(asked.in_process, asked.rounds))
    for backend, environment in environments():
        print(f"{backend}\nmodel       case               bound    ratio  [quartiles]", flush=True)
        for layers in asked.only or LAYERS:
            show(layers, answers(__file__, layers, asked, environment))


if __name__ == "__main__":
    main()
