"""Other libraries' schedules and ours with random arguments: where do the values differ?

    python -m tests.parity.differential --draws 10000 --seed 0

prints the largest difference for each schedule, and the arguments of one that is too far off or
that ours refuses; then it exits with 1. Schedules whose peer is not installed are named.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from random import Random
from typing import Any, NamedTuple

import numpy as np

from tests.parity import draws, peers
from tests.parity.draws import Draw
from tests.parity.peers import Arguments, Values

# Of the peak of the values that are compared.
TOLERANCE = 1e-12
LRS = (
    *("base_lr", "max_lr", "eta_min", "lr_max", "lr", "lr_min", "warmup_lr_init", "warmup_target"),
    *("init_value", "peak_value", "end_value", "initial_learning_rate", "end_learning_rate"),
)


class Entry(NamedTuple):
    """A schedule: how to draw its arguments, and its values there and here."""

    peer: str
    draw: Callable[[Random], Draw]
    theirs: Callable[[Arguments, list[int]], Values]
    ours: Callable[[Arguments, list[int]], Values]


def compat(name: str, peer: str, theirs: Callable[..., Values], call: str) -> Entry:
    """An entry for a function of `lrsched.compat` and its peer `call`."""

    def ours(args: Arguments, steps: list[int]) -> Values:
        return peers.table(peers.ours(name, args), steps)

    return Entry(peer, getattr(draws, name), partial(theirs, call), ours)


def drop_in(name: str, draw: Callable[[Random], Draw]) -> Entry:
    theirs = partial(peers.drop_in, "torch.optim.lr_scheduler", name)
    return Entry(
        "torch", draws.drop_in(draw), theirs, partial(peers.drop_in, "lrsched_torch", name)
    )


TORCH = {
    "torch_one_cycle": "OneCycleLR",
    "torch_cyclic": "CyclicLR",
    "torch_cosine_annealing": "CosineAnnealingLR",
    "torch_cosine_annealing_warm_restarts": "CosineAnnealingWarmRestarts",
    "torch_linear": "LinearLR",
    "torch_exponential": "ExponentialLR",
    "torch_polynomial": "PolynomialLR",
    "torch_step": "StepLR",
    "torch_multi_step": "MultiStepLR",
}
OPTAX = {
    "optax_cosine_onecycle": "cosine_onecycle_schedule",
    "optax_linear_onecycle": "linear_onecycle_schedule",
    "optax_warmup_cosine_decay": "warmup_cosine_decay_schedule",
}
KERAS = {
    "keras_cosine_decay": "CosineDecay",
    "keras_cosine_decay_restarts": "CosineDecayRestarts",
    "keras_polynomial_decay": "PolynomialDecay",
    "keras_inverse_time_decay": "InverseTimeDecay",
}
TRANSFORMERS = {
    "transformers_linear_with_warmup": "get_linear_schedule_with_warmup",
    "transformers_cosine_with_warmup": "get_cosine_schedule_with_warmup",
    "transformers_wsd": "get_wsd_schedule",
}
FORMULAS = {
    "fastai_fit_one_cycle": "fit_one_cycle",
    "fastai_fit_flat_cos": "fit_flat_cos",
    "fastai_fit_sgdr": "fit_sgdr",
    "timm_cosine": "timm_cosine",
}
ENTRIES: dict[str, Entry] = {
    "OneCycleLR": drop_in("OneCycleLR", draws.torch_one_cycle),
    "CyclicLR": drop_in("CyclicLR", draws.torch_cyclic),
    "torch_sequential": Entry(
        "torch",
        draws.torch_sequential,
        peers.torch_sequential,
        lambda args, steps: peers.table(peers.our_sequential(args), steps),
    ),
    **{
        name: compat(name, peer, theirs, call)
        for peer, theirs, calls in (
            ("torch", peers.torch_scheduler, TORCH),
            ("numpy", peers.formula, FORMULAS),
            ("optax", peers.optax, OPTAX),
            ("keras", peers.keras, KERAS),
            ("transformers", peers.transformers, TRANSFORMERS),
        )
        for name, call in calls.items()
    },
}


def installed(entry: Entry) -> bool:
    needed = (entry.peer, "torch") if entry.peer == "transformers" else (entry.peer,)
    return all(find_spec(name) for name in needed)


def steps_of(draw: Draw, rng: Random) -> list[int]:
    """The first steps, the last ones, some between, the first after the end, and some beyond."""
    last = draw.last
    steps = {0, 1, 2, last - 1, last, last + 1, *(rng.randint(0, last) for _ in range(4))}
    steps |= {rng.randint(last, 4 * last + 8) for _ in range(3)}
    steps |= {last + int(10 ** rng.uniform(0, 9.3))}
    steps = {step for step in steps if 0 <= step <= draw.until}
    # the same number for every draw, so that no compiler sees a new shape
    return sorted(rng.choices(sorted(steps - set(draw.without)) or [0], k=14))


class Result(NamedTuple):
    """Of the draws of one entry; `worst` has the arguments of the largest difference."""

    draws: int
    refused: int
    largest: float
    worst: Any

    @property
    def fails(self) -> bool:
        return self.refused > 0 or not self.largest <= TOLERANCE


def difference(theirs: Values, ours: Values, args: Arguments) -> float:
    """Largest difference, relative to the peak of each column: first the lrs, then the momenta.

    The peak of the lr is one of the arguments, and need not be among the compared values.
    """
    assert theirs.shape == ours.shape, (theirs.shape, ours.shape)
    assert np.isfinite(theirs).all(), "the draw makes no sense to the peer"
    peaks = np.abs(theirs).max(axis=0)
    lrs = [args[name] for name in LRS if name in args]
    width = args.get("groups", 1)
    peaks[:width] = np.maximum(peaks[:width], max(map(np.max, lrs)))
    gaps = np.abs(theirs - ours) / np.where(peaks > 0, peaks, 1.0)
    return float(np.max(gaps)) if np.isfinite(gaps).all() else float("inf")


def run(entry: Entry, number: int, seed: int) -> Result:
    """Compare so many draws; of those that ours refuses, the last is shown."""
    rng = Random(seed)
    refused, largest, worst, shown = 0, 0.0, None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the peers deprecate
        for _ in range(number):
            draw = entry.draw(rng)
            steps = steps_of(draw, rng)
            theirs = entry.theirs(draw.args, steps)
            try:
                ours = entry.ours(draw.args, steps)
            except (TypeError, ValueError) as error:
                refused, shown = refused + 1, (draw.args, error)
                continue
            found = difference(theirs, ours, draw.args)
            if found > largest:
                largest, worst = found, (draw.args, steps, theirs.tolist(), ours.tolist())
    return Result(number, refused, largest, shown or worst)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--draws", type=int, default=1000, help="in all, shared by the entries")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", help="only the schedules of this package")
    given = parser.parse_args(arguments)
    entries = {n: e for n, e in ENTRIES.items() if given.peer in (None, e.peer)}
    failed = []
    print(f"{'entry':40}{'draws':>8}{'refused':>9}{'difference':>12}")
    for name, entry in entries.items():
        if not installed(entry):
            print(f"{name:40}  needs {entry.peer}, which is not installed")
            continue
        result = run(entry, -(-given.draws // len(entries)), given.seed)
        print(f"{name:40}{result.draws:8}{result.refused:9}{result.largest:12.1e}", flush=True)
        if result.fails:
            failed.append((name, result))
    for name, result in failed:
        print(f"\n{name}:", *result.worst, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
