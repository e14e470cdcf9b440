"""Drop-in in company: inside SequentialLR and ChainedScheduler, and before other schedulers."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler

import lrsched_torch

STEPS = 30


class Torch:
    """The classes of torch."""

    one_cycle, cyclic = lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR


class Ours:
    one_cycle, cyclic = lrsched_torch.OneCycleLR, lrsched_torch.CyclicLR


OTHERS = {
    "constant": lambda o: lr_scheduler.ConstantLR(o, 0.5, 3),
    "linear": lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 5),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "step": lambda o: lr_scheduler.StepLR(o, 4, 0.5),
    "multi step": lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.5),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 8, 2.0),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.95),
}
DROP_INS = {
    "one cycle": lambda of, o: of.one_cycle(o, 0.1, 40),
    "three phases": lambda of, o: of.one_cycle(
        o, [0.1, 0.3], 40, three_phase=True, anneal_strategy="linear"
    ),
    "cyclic": lambda of, o: of.cyclic(o, 0.01, 0.1, 4, 3),
    # Torch's classes write their bounds of the momentum over each other's, into the groups.
    "cyclic lr": lambda of, o: of.cyclic(o, 0.01, 0.1, 4, 3, cycle_momentum=False),
    "exp_range": lambda of, o: of.cyclic(o, 0.01, 0.1, 4, mode="exp_range", gamma=0.97),
}


def sequence(*schedulers):
    return lr_scheduler.SequentialLR(
        schedulers[0].optimizer, list(schedulers), [7 * (k + 1) for k in range(len(schedulers) - 1)]
    )


def chain(*schedulers):
    return lr_scheduler.ChainedScheduler(list(schedulers))


COMPOSITIONS = {}
for name, other in OTHERS.items():
    for drop_in, make in DROP_INS.items():
        COMPOSITIONS[f"{name}, then {drop_in}"] = lambda of, o, other=other, make=make: sequence(
            other(o), make(of, o)
        )
        COMPOSITIONS[f"{drop_in}, then {name}"] = lambda of, o, other=other, make=make: sequence(
            make(of, o), other(o)
        )
    COMPOSITIONS[f"{name} in a chain with one cycle"] = lambda of, o, other=other: chain(
        other(o), DROP_INS["one cycle"](of, o)
    )
COMPOSITIONS |= {
    "one cycle, then cyclic": lambda of, o: sequence(
        DROP_INS["one cycle"](of, o), DROP_INS["cyclic lr"](of, o)
    ),
    "cyclic, then one cycle": lambda of, o: sequence(
        DROP_INS["cyclic lr"](of, o), DROP_INS["one cycle"](of, o)
    ),
    "warm-up, one cycle, cosine": lambda of, o: sequence(
        OTHERS["linear"](o), DROP_INS["one cycle"](of, o), OTHERS["cosine"](o)
    ),
    "cosine built after one cycle is gone": lambda of, o: (
        DROP_INS["one cycle"](of, o),
        OTHERS["cosine"](o),
    )[1],
    "exponential built after cyclic is gone": lambda of, o: (
        DROP_INS["cyclic"](of, o),
        OTHERS["exponential"](o),
    )[1],
}


def run(of, compose):
    """What schedulers leave in the groups, then the lrs and momenta of each update."""
    weights = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.2}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    whole = compose(of, optimizer)
    yield [group["initial_lr"] for group in optimizer.param_groups]
    for _ in range(STEPS):
        yield [number for g in optimizer.param_groups for number in (g["lr"], g["momentum"])]
        sum(weight.sum() for weight in weights).backward()
        optimizer.step()
        whole.step()


@pytest.mark.parametrize("name", COMPOSITIONS)
@pytest.mark.filterwarnings("ignore:The epoch parameter", "ignore:To get the last learning rate")
def test_values_are_those_of_the_classes_of_torch(name):
    compose = COMPOSITIONS[name]
    pairs = zip(run(Ours, compose), run(Torch, compose), strict=True)
    for update, (ours, theirs) in enumerate(pairs):
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-15), f"update {update}"
