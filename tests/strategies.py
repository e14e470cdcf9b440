"""Hypothesis builders: one strategy for every schedule function, with valid arguments."""

from __future__ import annotations

from hypothesis import strategies as st

import lrsched

positive = st.floats(1e-8, 10.0)
non_negative = st.one_of(st.just(0.0), positive)
fractions = st.floats(0.0, 1.0)
gammas = st.floats(0.01, 1.0)
steps = st.integers(2, 2000)
anneals = st.sampled_from(["cos", "linear"])
warmups = st.sampled_from([None, "cos", "linear"])


@st.composite
def ordered(draw, elements=positive):
    """A pair (low, high) with low < high."""
    low, high = sorted(draw(st.lists(elements, min_size=2, max_size=2, unique=True)))
    return low, high


momenta = ordered(st.floats(0.0, 0.99))


@st.composite
def one_cycles(draw):
    three_phase = draw(st.booleans())
    return lrsched.one_cycle(
        draw(positive),
        draw(steps),
        pct_start=draw(st.floats(0.0, 0.5 if three_phase else 1.0)),
        anneal=draw(anneals),
        warmup=draw(warmups),
        div_factor=draw(st.floats(1.0, 100.0)),
        final_div_factor=draw(st.floats(1.0, 1e6)),
        three_phase=three_phase,
    )


@st.composite
def one_cycle_momenta(draw):
    low, high = draw(momenta)
    three_phase = draw(st.booleans())
    return lrsched.one_cycle_momentum(
        draw(steps),
        base_momentum=low,
        max_momentum=high,
        pct_start=draw(st.floats(0.0, 0.5 if three_phase else 1.0)),
        anneal=draw(anneals),
        warmup=draw(warmups),
        three_phase=three_phase,
    )


@st.composite
def original_one_cycles(draw):
    return lrsched.one_cycle_original(
        draw(positive),
        draw(steps),
        pct_start=draw(st.floats(0.0, 0.5)),
        div_factor=draw(st.floats(1.0, 100.0)),
        final_div_factor=draw(st.floats(1.0, 1e6)),
    )


@st.composite
def original_one_cycle_momenta(draw):
    low, high = draw(momenta)
    return lrsched.one_cycle_original_momentum(
        draw(steps),
        base_momentum=low,
        max_momentum=high,
        pct_start=draw(st.floats(0.0, 0.5)),
    )


@st.composite
def _cycle_shape(draw):
    mode = draw(st.sampled_from(["triangular", "triangular2", "exp_range"]))
    return {
        "step_size_up": draw(st.integers(1, 500)),
        "step_size_down": draw(st.one_of(st.none(), st.integers(0, 500))),
        "mode": mode,
        "gamma": draw(st.floats(0.9, 1.0)) if mode == "exp_range" else 1.0,
    }


@st.composite
def cyclicals(draw):
    low, high = draw(ordered(non_negative))
    return lrsched.cyclical(low, high, **draw(_cycle_shape()))


@st.composite
def cyclical_momenta(draw):
    low, high = draw(momenta)
    return lrsched.cyclical_momentum(base_momentum=low, max_momentum=high, **draw(_cycle_shape()))


@st.composite
def cosine_restarts(draw):
    low, high = draw(ordered(non_negative))
    cycles = draw(st.integers(1, 5))
    lowest_gamma = min(1.0, (low / high * 1.01) ** (1 / max(1, cycles - 1)) + 0.01)
    return lrsched.cosine_restarts(
        high,
        draw(st.integers(2, 100)),
        cycles,
        min_lr=low,
        cycle_mult=draw(st.floats(1.0, 3.0)),
        gamma=draw(st.floats(lowest_gamma, 1.0)),
    )


@st.composite
def warmup_cosines(draw):
    total = draw(steps)
    low, high = draw(ordered(non_negative))
    return lrsched.warmup_cosine(
        high,
        warmup_steps=draw(st.integers(0, total - 1)),
        total_steps=total,
        start_lr=draw(st.floats(0.0, high)),
        min_lr=low,
    )


@st.composite
def warmup_stable_decays(draw):
    total = draw(st.integers(3, 2000))
    warmup = draw(st.integers(0, total - 2))
    low, high = draw(ordered(non_negative))
    return lrsched.warmup_stable_decay(
        high,
        warmup_steps=warmup,
        decay_steps=draw(st.integers(1, total - warmup - 1)),
        total_steps=total,
        start_lr=draw(st.floats(0.0, high)),
        min_lr=low,
        decay=draw(st.sampled_from(["linear", "cos", "sqrt", *(["exp"] if low > 0 else [])])),
    )


@st.composite
def flat_cosines(draw):
    low, high = draw(ordered(non_negative))
    pct_start = draw(st.floats(0.0, 0.99))
    return lrsched.flat_cosine(high, draw(steps), pct_start=pct_start, min_lr=low)


@st.composite
def inverse_sqrts(draw):
    high = draw(positive)
    return lrsched.inverse_sqrt(
        high,
        warmup_steps=draw(st.integers(0, 1000)),
        timescale=draw(st.one_of(st.none(), st.integers(1, 10_000))),
        start_lr=draw(st.floats(0.0, high)),
    )


@st.composite
def sweeps(draw, build):
    low, high = draw(ordered())
    return build(low, high, draw(steps))


# One entry for every name in lrsched.schedules; a test compares the two.
FUNCTIONS = {
    "constant": st.builds(lrsched.constant, non_negative),
    "linear": st.builds(lrsched.linear, non_negative, non_negative, steps),
    "cosine": st.builds(lrsched.cosine, non_negative, non_negative, steps),
    "exponential": st.builds(lrsched.exponential, positive, positive, steps),
    "polynomial": st.builds(
        lrsched.polynomial, non_negative, non_negative, steps, power=st.floats(0.2, 5.0)
    ),
    "one_cycle": one_cycles(),
    "one_cycle_momentum": one_cycle_momenta(),
    "one_cycle_original": original_one_cycles(),
    "one_cycle_original_momentum": original_one_cycle_momenta(),
    "cyclical": cyclicals(),
    "cyclical_momentum": cyclical_momenta(),
    "cosine_restarts": cosine_restarts(),
    "warmup_cosine": warmup_cosines(),
    "warmup_stable_decay": warmup_stable_decays(),
    "flat_cosine": flat_cosines(),
    "inverse_sqrt": inverse_sqrts(),
    "step_decay": st.builds(lrsched.step_decay, positive, st.integers(1, 100), gammas),
    "multi_step": st.builds(
        lrsched.multi_step, positive, st.lists(st.integers(0, 500), min_size=1, max_size=6), gammas
    ),
    "exponential_sweep": sweeps(lrsched.exponential_sweep),
    "linear_sweep": sweeps(lrsched.linear_sweep),
    "two_speed_sweep": sweeps(lrsched.two_speed_sweep),
}

finite_schedules = st.one_of(
    FUNCTIONS[name] for name in ("linear", "cosine", "one_cycle", "warmup_cosine", "exponential")
)


@st.composite
def composed(draw):
    """Schedules put together: chained, scaled, repeated."""
    schedule = draw(finite_schedules).scaled(draw(st.floats(0.1, 10.0)))
    if draw(st.booleans()):
        schedule = schedule.loop(gamma=draw(st.floats(0.5, 1.0)), floor=draw(non_negative))
    return draw(finite_schedules).then(schedule)


schedules = st.one_of(*FUNCTIONS.values(), composed())
