"""Every row of "Coming from another scheduler" in docs/torch.md gives the values of its left side.

Both sides are evaluated as they stand, and drive an optimizer for all updates.
"""

import re
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler

import lrsched
import lrsched_torch
from lrsched import compat
from tests.conftest import REPO
from tests.parity import formulas

# Long enough for the last of the knots that the rows name.
N = 150
TOLERANCE = 1e-12  # of the peak
BATCHES = 10
GIVEN = {
    "N": N,
    "base_lr": 0.1,
    "max_lr": 0.5,
    "lr_max": 0.5,
    "lr": 0.3,
    "total_steps": N,
    "n_epoch": N // BATCHES,
    "cycle_len": 2,
    "dls": SimpleNamespace(train=range(BATCHES)),
}


def rows():
    """Of the table: the package, its call, and the expression that takes its place here."""
    page = (REPO / "docs" / "torch.md").read_text(encoding="utf-8")
    section = page.split("## Coming from another scheduler")[1].split("\n## ")[0]
    lines = re.findall(r"^\|(.*)\|$", section, re.MULTILINE)[2:]
    return [re.fullmatch(r" (\w+) `([^`]+)`[^|`]* \| `([^`]+)` ", line) or line for line in lines]


def sgd():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)


def driven(scheduler):
    """lr and momentum of each update."""
    found = []
    for _ in range(N):
        (group,) = scheduler.optimizer.param_groups
        found.append((group["lr"], group["momentum"]))
        scheduler.optimizer.step()
        scheduler.step()
    return found


def by_formula(optimizer, formula):
    return lr_scheduler.LambdaLR(optimizer, lambda step: formula(step) / 0.1)


def fastai(optimizer):
    """A Learner whose fits return the values of their updates."""

    def values(lr, momentum=lambda step: 0.9):
        return [(lr(step), momentum(step)) for step in range(N)]

    def fit_one_cycle(n_epoch, lr_max):
        return values(*formulas.fit_one_cycle(n_epoch * BATCHES, lr_max))

    def fit_flat_cos(n_epoch, lr):
        return values(formulas.fit_flat_cos(n_epoch * BATCHES, lr))

    def fit_sgdr(n_cycles, cycle_len, lr_max):
        # no update is left after its last cycle
        lr = formulas.fit_sgdr(n_cycles, cycle_len * BATCHES, lr_max)
        return values(lr)[: 7 * cycle_len * BATCHES]

    return {"learn": SimpleNamespace(**{k: v for k, v in locals().items() if k.startswith("fit")})}


def timm(optimizer):
    def scheduler(formula):
        return lambda optimizer, *args, **options: by_formula(
            optimizer, formula(0.1, *args, **options)
        )

    return {
        "CosineLRScheduler": scheduler(formulas.timm_cosine),
        "StepLRScheduler": scheduler(formulas.timm_step),
    }


def transformers(optimizer):
    reason = "needs Transformers, of the integrations extra"
    return vars(pytest.importorskip("transformers.optimization", reason=reason))


PEERS = {
    "torch": lambda optimizer: vars(lr_scheduler),
    "fastai": fastai,
    "timm": timm,
    "Transformers": transformers,
}


def assert_equal(package, there, here):
    optimizer = sgd()
    peer = eval(there, {**PEERS[package](optimizer), **GIVEN, "optimizer": optimizer})
    expected = peer if isinstance(peer, list) else driven(peer)
    ours = {**vars(lrsched_torch), **GIVEN, "lrsched": lrsched, "compat": compat}
    found = driven(eval(here, {**ours, "optimizer": sgd()}))[: len(expected)]
    peak = max(lr for lr, _ in expected)
    for step, ((lr, momentum), (our_lr, our_momentum)) in enumerate(
        zip(expected, found, strict=True)
    ):
        assert our_lr == pytest.approx(lr, rel=0, abs=TOLERANCE * peak), step
        assert our_momentum == pytest.approx(momentum, rel=0, abs=TOLERANCE), step


@pytest.mark.parametrize(
    "row", rows(), ids=lambda row: row[2] if isinstance(row, re.Match) else row
)
def test_the_row_gives_the_values_of_the_peer(row):
    assert isinstance(row, re.Match), "a row must name a package, its call, and ours"
    assert_equal(*row.groups())


def test_every_package_has_its_rows():
    assert {row[1] for row in rows()} == set(PEERS)
    assert len(rows()) >= 20


@pytest.mark.parametrize(
    "here",
    [
        "ScheduleLR(optimizer, compat.torch_step(base_lr, 31))",
        "ScheduleLR(optimizer, compat.torch_step(base_lr, 30, gamma=0.1 + 1e-9))",
        "ScheduleLR(optimizer, compat.torch_step(base_lr, 30), lrsched.constant(0.8))",
    ],
)
def test_a_wrong_row_is_seen(here):
    with pytest.raises(AssertionError):
        assert_equal("torch", "StepLR(optimizer, 30)", here)
