"""The second look: which learning rates are probed, what decides, and what is kept."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsched
from lrsched.loss_curve import LossCurve
from lrsched.refine import Probe, ProbeRun, candidates, refine, second_look
from lrsched.suggestion import Suggestion


def curve_of(seed=0, noise=0.02, drop=2.0):
    lr = np.geomspace(1e-7, 10.0, 300)
    jitter = noise * np.random.default_rng(seed).standard_normal(300)
    fall = drop / (1 + (lr / 1e-3) ** 1.5)
    return LossCurve(lr, 0.3 + fall + np.minimum((lr / 0.3) ** 3, 1e6) + jitter)


def quadratic(run, curvature=1.0):
    """A real training: gradient descent on a parabola, from the same start each time."""
    weight = 1.0
    while run.running:
        loss = curvature * weight**2 / 2
        weight -= run.lr * curvature * weight
        run.record(loss)


def found(noise=1.0, **options):
    return Suggestion(
        0.1, "plateau", "why", (0.05, 0.2), True, **{"start": 9.0, "noise": noise, **options}
    )


def probe(lr, level, steps=100, schedule="one_cycle"):
    return Probe(lr, schedule, (level,) * steps)


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_a_probe_trains_with_the_schedule_that_the_lr_is_for(schedule):
    run, used = ProbeRun(0.1, schedule, 50), []
    while run.running:
        used.append(run.lr)
        run.record(1.0)
    whole = {"one_cycle": lrsched.one_cycle(0.1, 50), "constant": lrsched.constant(0.1)}
    assert used == whole[schedule].values(50).tolist()
    assert run.probe == Probe(0.1, schedule, (1.0,) * 50)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_probe_ends_at_a_loss_that_is_not_finite(bad):
    run = ProbeRun(0.1, "constant", 50)
    assert run.record(1.0)
    assert not run.record(bad)
    assert run.probe.level == math.inf


def test_a_loss_of_many_numbers_is_refused():
    with pytest.raises(TypeError, match="loss must be one real number"):
        ProbeRun(0.1, "constant", 50).record(np.ones(3))


def test_probes_lie_around_the_suggestion_and_share_the_budget():
    curve = curve_of()
    plain = curve.suggest().lr
    refined = refine(curve, quadratic, num_steps=200)
    lrs = [p.lr for p in refined.probes]
    assert lrs == pytest.approx([plain / 10**0.25, plain, plain * 10**0.25])
    assert [len(p.losses) for p in refined.probes] == [66, 66, 66]
    assert refined.lr is curve.lr or np.array_equal(refined.lr, curve.lr)


def test_the_lr_whose_probe_ends_clearly_lower_wins():
    assert second_look(found(), [probe(0.1, 5.0), probe(0.2, 2.0), probe(0.3, 4.0)]).lr == 0.2
    assert second_look(found(), [probe(0.1, 2.0), probe(0.2, 5.0), probe(0.3, 4.0)]).lr == 0.1


def test_of_those_that_noise_cannot_tell_apart_the_lowest_wins():
    """Two means of 25 losses of noise 1 differ by 0.28, give or take."""
    probes = [probe(0.1, 2.27), probe(0.2, 2.1), probe(0.3, 2.0)]
    assert second_look(found(noise=1.0), probes).lr == 0.1
    assert second_look(found(noise=0.5), probes).lr == 0.2
    assert second_look(found(noise=0.0), probes).lr == 0.3


def test_probes_that_learned_nothing_leave_the_lr_as_it_was():
    probes = [probe(0.1, 8.5), probe(0.2, 8.9), probe(0.3, 9.1)]
    look = second_look(found(noise=1.0), probes)  # two errors are 0.57
    assert look.lr == 0.2
    assert not look.confident
    assert "raise refine_steps" in look.reason
    assert second_look(found(noise=0.4), probes).lr == 0.1


def test_a_weak_drop_is_not_what_is_probed_around():
    weak = curve_of(drop=0.4, noise=0.2)
    assert weak.suggest().lr is not None
    assert candidates(weak, "one_cycle")[1] != pytest.approx(weak.suggest().lr, rel=0.01)


def test_a_probe_that_blew_up_does_not_win():
    broken = Probe(0.1, "one_cycle", (*[1.0] * 40, math.nan))
    look = second_look(found(), [broken, probe(0.2, 2.0)])
    assert look.lr == 0.2
    assert look.method == "probes"
    assert look.band[0] < 0.2 < look.band[1]


def test_when_all_blow_up_there_is_no_lr_and_a_remedy():
    look = second_look(found(), [Probe(lr, "one_cycle", (math.inf,)) for lr in (0.1, 0.2)])
    assert look.lr is None
    assert not look.confident
    assert look.band is None
    assert "train from a lower lr" in str(look)


@given(offset=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 20))
def test_offset_and_scale_of_the_loss_change_nothing(offset, scale, seed):
    levels = np.random.default_rng(seed).normal(size=3)
    plain = [probe(lr, level) for lr, level in zip((0.1, 0.2, 0.3), levels, strict=True)]
    other = [probe(p.lr, (p.level + offset) * scale) for p in plain]
    look = second_look(found(0.7, start=1.0), plain)
    assert second_look(found(0.7 * scale, start=(1.0 + offset) * scale), other).lr == look.lr


def test_a_sweep_without_a_drop_is_probed_below_where_the_loss_rises():
    curve = curve_of(drop=0.0)
    assert curve.suggest().lr is None
    around = candidates(curve, "one_cycle")
    assert 0.01 < around[1] * 10 < 0.3
    assert candidates(curve, "constant")[1] / around[1] == pytest.approx(0.45 / 1.1)
    refined = refine(curve, quadratic)
    assert refined.suggest().lr in around
    assert not refined.suggest().confident
    assert "the sweep alone shows no clear drop" in str(refined.suggest())
    assert curve.suggest().diverged_at == pytest.approx(around[1] * 10)


def test_a_curve_with_hardly_a_finite_loss_is_not_probed():
    short = LossCurve(np.geomspace(1e-3, 1, 5), [1.0, 1.0, 1.0, 1.0, np.nan], num_steps=100)
    assert refine(short, quadratic) == short
    assert refine(short, quadratic).suggest().lr is None


def test_probes_are_kept_for_each_schedule_and_used_only_there():
    curve = curve_of()
    one = refine(curve, quadratic, schedule="constant")
    both = refine(one, quadratic)
    assert {p.schedule for p in both.probes} == {"one_cycle", "constant"}
    assert refine(both, quadratic) == both
    assert one.suggest() == curve.suggest()
    assert one.suggest(schedule="constant").method == "probes"
    assert both.suggest(method="plateau") == curve.suggest()
    assert both.suggestions() == curve.suggestions()


def test_a_fallback_is_for_probes_that_found_nothing():
    broken = refine(curve_of(), lambda run: run.record(math.nan))
    assert broken.suggest().lr is None
    assert broken.suggest(fallback=0.01).lr == 0.01
    assert refine(curve_of(), quadratic).suggest(fallback=1e-5).lr > 1e-3


def test_json_keeps_the_probes_even_those_that_blew_up():
    curve = refine(curve_of(), quadratic)
    broken = refine(curve, lambda run: run.record(math.nan), schedule="constant")
    back = LossCurve.from_json(broken.to_json())
    assert back == broken
    assert back.suggest() == broken.suggest()


@pytest.mark.parametrize(
    "probes", [[{"lr": 0.1}], [3], [{"lr": -1.0, "schedule": "constant", "losses": [1.0]}]]
)
def test_bad_probes_in_json_are_refused(probes):
    with pytest.raises(ValueError, match=r"probes must hold|lr must be > 0"):
        LossCurve.from_dict({**curve_of().to_dict(), "probes": probes})


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="refine_steps must be an int >= 60, got 10"):
        refine(curve_of(), quadratic, num_steps=10)
    with pytest.raises(ValueError, match="schedule must be one of"):
        refine(curve_of(), quadratic, schedule="cosine")
    with pytest.raises(TypeError, match="probes must be a Probe"):
        LossCurve([0.1], [1.0], probes=(1,))


@settings(max_examples=100)
@given(st.lists(st.floats(), min_size=10, max_size=60), st.lists(st.floats(), min_size=20))
def test_no_losses_raise_or_lead_out_of_the_sweep(sweep, probed):
    curve = LossCurve(np.geomspace(1e-7, 10, len(sweep)), sweep)

    def train(run):
        for loss in probed:
            if run.running:
                run.record(loss)

    look = refine(curve, train).suggest()
    assert str(look)
    assert look.lr is None or curve.lr[0] <= look.lr <= curve.lr[-1]
