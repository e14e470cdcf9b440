"""Random arguments for each schedule, over the whole range that its peer takes and that means
something. What is left out names the row of docs/torch.md or docs/schedules.md that says so.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from lrsched.engine.schedule import HORIZON

Arguments = dict[str, Any]


class Draw(NamedTuple):
    """Arguments, and which steps to compare.

    `last` is a step at which something ends; none after `until` is compared, nor one of `without`.
    """

    args: Arguments
    last: int
    until: int = HORIZON
    without: tuple[int, ...] = ()


def power_of_ten(rng: Random, low: float, high: float) -> float:
    return 10 ** rng.uniform(low, high)


def lr(rng: Random) -> float:
    return power_of_ten(rng, -8, 2)


def level(rng: Random) -> float:
    """A lr that may be 0."""
    return rng.choice((0.0, lr(rng), lr(rng)))


def near(rng: Random, *edges: Any, otherwise: Any) -> Any:
    """One of the `edges` every third time."""
    return rng.choice(edges) if rng.random() < 0.35 else otherwise


def share(rng: Random, *edges: float) -> float:
    return near(rng, *edges, otherwise=rng.random())


def count(rng: Random, low: int = 1, high: int = 40) -> int:
    return near(rng, low, low + 1, otherwise=rng.randint(low, high))


def long(rng: Random, low: int = 1, digits: float = 6) -> int:
    return near(rng, low, low + 1, otherwise=low + int(power_of_ten(rng, 0, digits)))


def gamma(rng: Random) -> float:
    # not 0: refused, says the row
    return near(rng, 1.0, 0.1, otherwise=power_of_ten(rng, -0.5, 0.15))


def some(rng: Random, needed: Arguments, **optional: Any) -> Arguments:
    """Leaves options out, so that the defaults are compared too."""
    return needed | {name: value for name, value in optional.items() if rng.random() < 0.7}


def momenta(rng: Random) -> tuple[float, float]:
    # ordered and below 1: others are refused, says the row
    low, high = sorted(near(rng, 0.0, 0.5, otherwise=0.999 * rng.random()) for _ in range(2))
    return low, high


# torch


def torch_one_cycle(rng: Random) -> Draw:
    # total_steps >= 2 and div_factor >= 1: others are refused, says the row
    total, three_phase = count(rng, 2), rng.random() < 0.4
    low, high = momenta(rng)
    while True:
        args = some(
            rng,
            {"max_lr": lr(rng), "three_phase": three_phase},
            pct_start=share(rng, 0.0, 0.5, 1.0),
            anneal_strategy=rng.choice(("cos", "linear")),
            cycle_momentum=rng.random() < 0.7,
            div_factor=near(rng, 1.0, otherwise=power_of_ten(rng, 0, 4)),
            final_div_factor=near(rng, 1.0, otherwise=power_of_ten(rng, -2, 6)),
        )
        if rng.random() < 0.7:
            args |= {"base_momentum": low, "max_momentum": high}
        pct_start = args.get("pct_start", 0.3)
        # of the rows on pct_start * total_steps == 1 and on three_phase with pct_start > 0.5
        if abs(pct_start * total - 1) > 1e-6 and not (three_phase and pct_start > 0.5):
            break
    if total % 2 == 0 and rng.random() < 0.3:
        args |= {"epochs": total // 2, "steps_per_epoch": 2}
    else:
        args["total_steps"] = total
    # torch turns back at the end, says the row
    return Draw(args, total - 1, until=total - 1)


def torch_cyclic(rng: Random) -> Draw:
    # whole step sizes and base_lr <= max_lr: others are refused, says the row
    up, down = count(rng), near(rng, None, 0, otherwise=count(rng))
    base_lr = level(rng)
    low, high = momenta(rng)
    args = some(
        rng,
        {"base_lr": base_lr, "max_lr": base_lr + near(rng, 0.0, otherwise=lr(rng)) or 1.0},
        mode=rng.choice(("triangular", "triangular2", "exp_range")),
        gamma=near(rng, 1.0, otherwise=rng.uniform(0.8, 1.05)),
        cycle_momentum=rng.random() < 0.7,
    )
    if rng.random() < 0.7:
        args |= {"base_momentum": low, "max_momentum": high}
    if rng.random() < 0.9:
        args |= {"step_size_up": up, "step_size_down": down}
    return Draw(args, up + (up if down is None else down), until=200)


def drop_in(draw: Any) -> Any:
    """The same with an optimizer of some kind, and several groups with lrs of their own."""

    def of_groups(rng: Random) -> Draw:
        found = draw(rng)
        args, groups = dict(found.args), rng.randint(1, 3)
        factors = {"base_lr": 0.5, "max_lr": 2.0, "base_momentum": 0.5, "max_momentum": 1.0}
        for name, factor in factors.items():
            if name in args and rng.random() < 0.5:
                args[name] = [args[name] * factor**k for k in range(groups)]
        kind = rng.choice(("SGD", "Adam", "AdamW", "RMSprop", "NAdam"))
        return found._replace(args=args | {"kind": kind, "groups": groups})

    return of_groups


def torch_cosine_annealing(rng: Random) -> Draw:
    half = count(rng)
    return Draw(some(rng, {"base_lr": lr(rng), "T_max": half}, eta_min=level(rng)), half, 5 * half)


def torch_cosine_annealing_warm_restarts(rng: Random) -> Draw:
    first = count(rng, high=20)
    needed = {"base_lr": lr(rng), "T_0": first}
    return Draw(some(rng, needed, T_mult=count(rng, high=4), eta_min=level(rng)), first, 200)


def torch_linear(rng: Random) -> Draw:
    steps = count(rng)
    args = some(
        rng,
        {"base_lr": lr(rng)},
        start_factor=near(rng, 1.0, 1e-8, otherwise=power_of_ten(rng, -4, 0)),
        end_factor=share(rng, 0.0, 1.0),
        total_iters=steps,
    )
    return Draw(args, args.get("total_iters", 5), until=3 * steps)


def torch_exponential(rng: Random) -> Draw:
    return Draw({"base_lr": lr(rng), "gamma": gamma(rng)}, 20, until=60)


def torch_polynomial(rng: Random) -> Draw:
    steps, power = count(rng), near(rng, 0.0, 1.0, otherwise=rng.uniform(0.1, 5))
    args = some(rng, {"base_lr": lr(rng)}, total_iters=steps, power=power)
    return Draw(args, args.get("total_iters", 5), until=3 * steps + 20)


def torch_step(rng: Random) -> Draw:
    size = count(rng)
    return Draw(some(rng, {"base_lr": lr(rng), "step_size": size}, gamma=gamma(rng)), size, 200)


def torch_multi_step(rng: Random) -> Draw:
    steps = [rng.randint(0, 40) for _ in range(rng.randint(0, 5))]
    milestones = near(rng, range(10, 40, 10), tuple(steps), otherwise=steps)
    needed = {"base_lr": lr(rng), "milestones": milestones}
    return Draw(some(rng, needed, gamma=gamma(rng)), max(milestones, default=0), 60)


PARTS = {
    "CosineAnnealingLR": torch_cosine_annealing,
    "CosineAnnealingWarmRestarts": torch_cosine_annealing_warm_restarts,
    "ExponentialLR": torch_exponential,
    "LinearLR": torch_linear,
    "MultiStepLR": torch_multi_step,
    "PolynomialLR": torch_polynomial,
    "StepLR": torch_step,
}


def torch_sequential(rng: Random) -> Draw:
    names, base_lr = rng.choices(list(PARTS), k=rng.randint(1, 4)), lr(rng)
    schedulers = []
    for name in names:
        own = PARTS[name](rng).args
        del own["base_lr"]
        if "eta_min" in own:
            own["eta_min"] = base_lr * rng.random()
        schedulers.append((name, own))
    milestones = sorted(rng.sample(range(1, 60), len(names) - 1))
    args = {"base_lr": base_lr, "schedulers": schedulers, "milestones": milestones}
    return Draw(args, milestones[-1] if milestones else 10, until=150)


# fastai


def fastai_fit_one_cycle(rng: Random) -> Draw:
    total = long(rng)
    args = some(
        rng,
        {"lr_max": lr(rng), "total_steps": total},
        div=power_of_ten(rng, -1, 4),
        div_final=power_of_ten(rng, -1, 7),
        pct_start=share(rng, 0.0, 1.0),
        moms=[near(rng, 0.0, otherwise=0.999 * rng.random()) for _ in range(3)],
    )
    # at position 1 there is nothing left to divide by
    return Draw(args, total - 1, until=total - (args.get("pct_start") == 1.0))


def fastai_fit_flat_cos(rng: Random) -> Draw:
    total = long(rng)
    args = some(
        rng,
        {"lr": lr(rng), "total_steps": total},
        div_final=power_of_ten(rng, -1, 7),
        pct_start=share(rng, 0.0, 1.0),
    )
    return Draw(args, total - 1, until=total - (args.get("pct_start") == 1.0))


def fastai_fit_sgdr(rng: Random) -> Draw:
    cycles, length = rng.randint(1, 5), long(rng, digits=4)
    needed = {"n_cycles": cycles, "cycle_len": length, "lr_max": lr(rng)}
    args = some(rng, needed, cycle_mult=rng.randint(1, 4))
    mult = args.get("cycle_mult", 2)
    total = length * sum(mult**k for k in range(cycles))
    return Draw(args, rng.choice((length, total)), until=total)


# optax


def optax_cosine_onecycle(rng: Random) -> Draw:
    steps = long(rng)
    args = some(
        rng,
        {"transition_steps": steps, "peak_value": lr(rng)},
        pct_start=share(rng, 0.0, 0.5),  # not 1: knots on one step, says the row
        div_factor=power_of_ten(rng, -1, 4),
        final_div_factor=power_of_ten(rng, -2, 6),
    )
    return Draw(args, steps)


def optax_linear_onecycle(rng: Random) -> Draw:
    while True:
        steps = long(rng)
        args = some(
            rng,
            {"transition_steps": steps, "peak_value": lr(rng)},
            pct_start=share(rng, 0.0),
            pct_final=share(rng, 0.5),
            div_factor=power_of_ten(rng, -1, 4),
            final_div_factor=power_of_ten(rng, -2, 6),
        )
        top, rest = args.get("pct_start", 0.3), args.get("pct_final", 0.85)
        # of the row on knots that fall on one step
        if int(top * steps) < int(rest * steps) < steps:
            return Draw(args, steps)


def optax_warmup_cosine_decay(rng: Random) -> Draw:
    # 1 + cos near pi has few digits, and a small exponent spreads what they lack
    exponent = near(rng, 0.0, 1.0, otherwise=power_of_ten(rng, -1, 1))
    warmup = long(rng, 0, 6 if exponent >= 1 else 1.5)
    decay = warmup + long(rng, 1, 6 if exponent >= 1 else 1.5)
    needed = {
        "init_value": level(rng),
        "peak_value": lr(rng),
        "warmup_steps": warmup,
        "decay_steps": decay,
    }
    args = some(rng, needed, end_value=level(rng)) | {"exponent": exponent}
    return Draw(args, rng.choice((warmup, decay)))


# Keras


def keras_cosine_decay(rng: Random) -> Draw:
    steps, warmup = long(rng), long(rng, 0)
    needed = {"initial_learning_rate": level(rng), "decay_steps": steps}
    args = some(rng, needed, alpha=near(rng, 0.0, 1.0, 2.0, otherwise=rng.random()))
    if rng.random() < 0.5:
        args |= {"warmup_target": lr(rng), "warmup_steps": warmup}
    return Draw(args, rng.choice((warmup, warmup + steps)))


def keras_cosine_decay_restarts(rng: Random) -> Draw:
    # cycles that shrink are refused, says the row
    steps, t_mul = long(rng, digits=4), near(rng, 1.0, 2.0, 3.0, otherwise=rng.uniform(1.01, 4.0))
    m_mul = near(rng, 1.0, otherwise=power_of_ten(rng, -0.5, 0.1))
    args = some(
        rng,
        {"initial_learning_rate": lr(rng), "first_decay_steps": steps},
        t_mul=t_mul,
        m_mul=m_mul,
        alpha=near(rng, 0.0, 1.0, otherwise=rng.random()),
    )
    # A cycle that does not end before the horizon is left out. After thousands of equal ones
    # the peer, which subtracts their number, has fewer digits.
    until = HORIZON // 5 if (t_mul := args.get("t_mul", 2.0)) > 1 else 1000 * steps
    return Draw(args, steps, until, without=() if t_mul == 1.0 else restarts(steps, t_mul))


def restarts(first: int, mult: float) -> tuple[int, ...]:
    """The steps of restarts, where the logarithm of the peers may be off, says the row."""
    found, start = [], 0.0
    for cycle in range(10_000):
        start += first * mult**cycle
        if start > HORIZON:
            break
        found.append(round(start))
    return tuple(found)


def keras_polynomial_decay(rng: Random) -> Draw:
    steps, cycle = long(rng, digits=4), rng.random() < 0.4
    args = some(
        rng,
        {"initial_learning_rate": level(rng), "decay_steps": steps},
        end_learning_rate=level(rng),
        power=near(rng, 0.0, 1.0, otherwise=rng.uniform(0.3, 5)),
        cycle=cycle,
    )
    # 1,000 cycles, says the row
    return Draw(args, rng.choice((steps, 3 * steps)), until=1000 * steps)


def keras_inverse_time_decay(rng: Random) -> Draw:
    steps = long(rng)
    needed = {
        "initial_learning_rate": lr(rng),
        "decay_steps": steps,
        "decay_rate": near(rng, 0.0, otherwise=power_of_ten(rng, -6, 3)),
    }
    args = some(rng, needed, staircase=rng.random() < 0.5)
    # 1,000 stairs, says the row
    return Draw(args, steps, until=1000 * steps - 1 if args.get("staircase") else HORIZON)


# Transformers and timm


def waves(rng: Random, steps: int) -> float:
    """A number of cosine waves, of no less than four steps each."""
    return near(rng, 0.0, 0.5, 1.0, otherwise=rng.random() * min(steps / 4, 20))


def transformers_linear_with_warmup(rng: Random, digits: float = 6) -> Draw:
    # a warmup of more than all steps is refused, and one of all steps ends at the peak: the rows
    last = long(rng, digits=digits)
    warmup = near(rng, 0, last, otherwise=rng.randint(0, last))
    args = {"base_lr": lr(rng), "num_warmup_steps": warmup, "num_training_steps": last}
    return Draw(args, rng.choice((warmup, last)), until=last - 1 if warmup == last else HORIZON)


def transformers_cosine_with_warmup(rng: Random) -> Draw:
    # few steps, since the knots are rounded, says the page, where waves end between two steps
    args, last, _, _ = transformers_linear_with_warmup(rng, digits=3)
    end = args["num_training_steps"]
    args = some(rng, args, num_cycles=waves(rng, end - args["num_warmup_steps"]))
    # Transformers goes on after the end, says the row
    return Draw(args, last, until=end)


def transformers_wsd(rng: Random) -> Draw:
    warmup, stable, decay = (long(rng, 0, 3) for _ in range(3))
    args = some(
        rng,
        {"base_lr": lr(rng), "num_warmup_steps": warmup, "num_decay_steps": decay},
        warmup_type=rng.choice(("linear", "cosine", "1-sqrt")),
        decay_type=rng.choice(("linear", "cosine", "1-sqrt")),
        min_lr_ratio=share(rng, 0.0, 1.0, 2.0),
        num_cycles=waves(rng, decay),
    )
    total = warmup + stable + decay
    if total and rng.random() < 0.5:
        args["num_training_steps"] = total
    else:
        args["num_stable_steps"] = stable
    return Draw(args, rng.choice((warmup, warmup + stable, total)))


def timm_cosine(rng: Random) -> Draw:
    # cycles that shrink are refused, says the row
    first, mult = long(rng, digits=4), near(rng, 1.0, 2.0, 3.0, otherwise=rng.uniform(1.01, 4.0))
    args = some(
        rng,
        {"base_lr": lr(rng), "t_initial": first},
        lr_min=level(rng),
        cycle_mul=mult,
        cycle_decay=gamma(rng),
        cycle_limit=rng.randint(1, 6),
        warmup_t=near(rng, 0, first, otherwise=rng.randint(0, 3 * first)),
        warmup_lr_init=level(rng),
        warmup_prefix=rng.random() < 0.5,
    )
    mult, warmup = args.get("cycle_mul", 1.0), args.get("warmup_t", 0)
    shift = warmup if args.get("warmup_prefix") else 0
    knots = () if mult == 1 else tuple(shift + k for k in restarts(first, mult))
    return Draw(args, rng.choice((warmup, shift + first)), without=knots)
