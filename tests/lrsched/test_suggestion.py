"""The default rule: what it says, what it must not depend on, and when it says nothing."""

import importlib.util
import math
import pickle
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsched
from lrsched.curve.features import smooth_losses
from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.peer_rules import PEERS
from lrsched.curve.suggestion import SCHEDULE_FACTORS, Suggestion, suggest
from lrsched.range_test import RangeTest


def typical(num_steps=300, *, drop_at=1e-3, edge_at=0.3, noise=0.02, start_lr=1e-7, seed=0):
    """lr and loss of a sweep: flat, a drop around `drop_at`, a divergence around `edge_at`."""
    lr = np.geomspace(start_lr, 10.0, num_steps)
    jitter = noise * np.random.default_rng(seed).standard_normal(num_steps)
    drop = 2 / (1 + (lr / drop_at) ** 1.5)
    return lr, 0.3 + drop + np.minimum((lr / edge_at) ** 3, 1e6) + jitter


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
def test_a_clear_curve_gets_a_confident_lr_between_drop_and_divergence(noise):
    found = suggest(*typical(noise=noise))
    assert found.confident
    assert 1e-3 < found.lr < 0.3
    low, high = found.band
    assert low < found.lr < high <= found.diverged_at
    assert found.drop == pytest.approx(2.0, rel=0.15)
    assert found.noise == pytest.approx(noise, rel=0.5, abs=5e-3)


def test_a_one_cycle_peak_is_2_4_times_the_constant_lr():
    curve = typical()
    ratio = suggest(*curve).lr / suggest(*curve, schedule="constant").lr
    assert ratio == pytest.approx(2.44, abs=0.01)


@given(
    offset=st.floats(-1e3, 1e3),
    scale=st.floats(1e-6, 1e6),
    unit=st.floats(1e-6, 1e6),
    schedule=st.sampled_from(sorted(SCHEDULE_FACTORS)),
    seed=st.integers(0, 50),
)
def test_offset_scale_and_the_unit_of_the_lr_change_nothing(offset, scale, unit, schedule, seed):
    lr, loss = typical(seed=seed)
    plain = suggest(lr, loss, schedule=schedule)
    other = suggest(lr * unit, (loss + offset) * scale, schedule=schedule)
    assert other.lr / unit == pytest.approx(plain.lr, rel=1e-6)
    assert other.confident == plain.confident
    assert other.drop / scale == pytest.approx(plain.drop, rel=1e-6)
    assert np.array(other.band) / unit == pytest.approx(np.array(plain.band), rel=1e-6)


# Steps by decades: on some of these grids a whole number of steps makes 0.15 or 0.5 decades.
GRIDS = ((101, 5), (121, 6), (161, 8), (300, 8), (321, 8), (801, 8))


@given(grid=st.sampled_from(GRIDS), unit=st.floats(1e-6, 1e6), seed=st.integers(0, 50))
def test_the_unit_of_the_lr_changes_nothing_where_the_grid_divides_the_window(grid, unit, seed):
    num_steps, decades = grid
    lr, loss = typical(num_steps, start_lr=10.0 ** (1 - decades), noise=0.2, seed=seed)
    plain, other = suggest(lr, loss), suggest(lr * unit, loss)
    assert other.lr / unit == pytest.approx(plain.lr, rel=1e-6)
    assert other.noise == plain.noise


def stopped(lr, loss, planned):
    """The curve of a range test that meets these losses."""
    test = RangeTest(planned[0], planned[-1], len(planned))
    test.record_all(loss.tolist())
    end = len(test.curve)
    return LossCurve(lr[:end], loss[:end], num_steps=len(planned)), test.curve.stop_reason


@pytest.mark.parametrize("num_steps", [100, 300, 1852])
def test_stopping_at_the_divergence_does_not_change_the_answer(num_steps):
    lr, loss = typical(num_steps)
    curve, reason = stopped(lr, loss, lr)
    assert reason == "diverged"
    assert len(curve) < num_steps
    assert curve.suggest() == suggest(lr, loss)
    assert curve.cyclical_range() == LossCurve(lr, loss).cyclical_range()


def test_a_sweep_that_was_stopped_has_diverged():
    lr, loss = typical()
    loss[200:] = 50 + np.arange(100)
    assert suggest(lr, loss).diverged_at <= lr[210]
    rising = np.where(lr < 0.05, 1.0, 9.0)
    rising[-20:] = 1.0
    found = suggest(lr, rising)
    assert found.lr is None
    assert found.diverged_at == pytest.approx(0.05, rel=0.2)


def noisy(level, seed=0, num_steps=300):
    return level + 0.05 * np.random.default_rng(seed).standard_normal(num_steps)


@pytest.mark.parametrize("low", [1.5, 0.0, -1e3, -1.7e308])
@pytest.mark.parametrize("at", [20, 150, 298, 299])
def test_one_low_batch_is_no_drop(low, at):
    lr = np.geomspace(1e-7, 10, 300)
    for seed in range(5):
        loss = noisy(2.3, seed)
        loss[at] = low
        assert suggest(lr, loss).lr is None


@pytest.mark.parametrize("odd", [-1.7e308, -100.0, 100.0])
def test_one_odd_batch_does_not_move_the_lr(odd):
    lr, loss = typical()
    plain = suggest(lr, loss)
    for at in range(0, 300, 7):
        spoilt = loss.copy()
        spoilt[at] = odd
        found = suggest(lr, spoilt)
        assert found.lr == pytest.approx(plain.lr, rel=0.02), at
        assert found.confident


def test_one_high_batch_at_the_start_does_not_hide_a_drop():
    lr = np.geomspace(1e-7, 10, 300)
    loss = noisy(0.3 + 2 / (1 + lr / 1e-3))
    plain = suggest(lr, loss)
    loss[5] = 10.0
    found = suggest(lr, loss)
    assert found.lr == pytest.approx(plain.lr, rel=0.02)
    assert found.noise == pytest.approx(plain.noise, rel=0.3)


def test_nothing_lies_outside_the_sweep_by_a_rounding():
    for start in np.random.default_rng(0).uniform(-7, -6, 300):
        lr = np.geomspace(10**start, 10 ** (start + 5), 60)
        found = suggest(lr, 2 - np.linspace(0, 1, 60) ** 4)
        for value in (found.lr, *found.band):
            assert lr[0] <= value <= lr[-1]


@pytest.mark.parametrize("names", [("lr",), ("loss",)])
def test_masked_points_are_not_read_as_if_they_were_there(names):
    curve = dict(zip(("lr", "loss"), typical(), strict=True))
    curve |= {name: np.ma.masked_greater(curve[name], 1.0) for name in names}
    with pytest.raises(TypeError, match=f"{names[0]} must not be a masked array"):
        suggest(**curve)


@pytest.mark.skipif(np.finfo(np.longdouble).max <= np.finfo(float).max, reason="needs longdouble")
def test_a_loss_beyond_float64_is_infinite():
    lr, loss = typical()
    wide = loss.astype(np.longdouble)
    wide[250:] = np.longdouble(10) ** 1000
    loss[250:] = np.inf
    assert suggest(lr, wide) == suggest(lr, loss)


def test_what_follows_a_nan_is_not_looked_at():
    lr, loss = typical()
    end = int(np.searchsorted(lr, 0.25))
    cut = loss.copy()
    cut[end] = np.nan
    cut[end + 1 :] = -1e30
    found = suggest(lr, cut)
    assert found.diverged_at == lr[end]
    assert found.lr == suggest(lr[:end], loss[:end]).lr


@given(num_steps=st.integers(50, 2000), seed=st.integers(0, 5))
def test_the_lr_depends_smoothly_on_the_number_of_steps(num_steps, seed):
    """The same curve from twice the steps stands for longer training, which takes a higher lr."""
    one = suggest(*typical(num_steps, noise=0.0)).lr
    two = suggest(*typical(2 * num_steps, noise=0.0)).lr
    assert 1.0 < two / one < 1.5


def test_the_start_of_a_sweep_of_flat_losses_does_not_matter():
    long = suggest(*typical(400, start_lr=1e-7, noise=0.0))
    short = suggest(*typical(301, start_lr=1e-5, noise=0.0))
    assert short.lr == pytest.approx(long.lr, rel=0.02)


def test_a_linear_sweep_gives_a_similar_answer():
    lr = np.linspace(1e-5, 0.6, 600)
    loss = 0.3 + 2 / (1 + (lr / 0.02) ** 1.5) + (lr / 0.3) ** 3
    exponential = suggest(*typical(300, drop_at=0.02, noise=0.0))
    assert 0.3 < suggest(lr, loss).lr / exponential.lr < 3


@pytest.mark.parametrize("num_steps", [20, 50, 100, 300, 1000])
def test_noise_is_not_taken_for_a_drop(num_steps):
    lr = np.geomspace(1e-7, 10, num_steps)
    lost = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = suggest(lr, 2.3 + rng.standard_normal(num_steps))
        assert not found.confident
        lost += found.lr is None
        if found.lr is None:
            assert "more steps" in found.reason
    assert lost >= 190


ROUNDINGS = {
    "four digits, mostly equal": lambda noise: np.round(2.3 + 3e-5 * noise, 4),
    "four digits, hardly ever different": lambda noise: np.round(2.3 + 2e-5 * noise, 4),
    "float32": lambda noise: (2.3 + 1e-7 * noise).astype(np.float32),
    "float16": lambda noise: (2.3 + 3e-4 * noise).astype(np.float16),
}


@pytest.mark.parametrize("name", ROUNDINGS)
def test_rounding_is_not_taken_for_a_drop(name):
    lr = np.geomspace(1e-7, 10, 300)
    for seed in range(200):
        loss = ROUNDINGS[name](np.random.default_rng(seed).standard_normal(300))
        assert not suggest(lr, loss).confident


def test_a_drop_of_rounded_losses_is_seen():
    lr, loss = typical(noise=0.0)
    plain = suggest(lr, loss)
    for rounded in (np.round(loss, 2), loss.astype(np.float16)):
        found = suggest(lr, rounded)
        assert found.confident
        assert found.lr == pytest.approx(plain.lr, rel=0.05)


def test_a_curve_without_a_drop_gets_the_advice_that_fits():
    lr = np.geomspace(1e-7, 10, 300)
    rising = suggest(np.geomspace(0.1, 100, 100), 2.3 * 1.2 ** np.arange(100)).reason
    assert rising.endswith("higher or not finite from lr 0.27 on; sweep from a lower start_lr")
    early = suggest(lr, np.r_[np.full(12, 2.3), np.full(288, np.nan)]).reason
    assert "not finite from lr 2.1e-07 on; sweep from a lower start_lr" in early
    late = suggest(lr, np.r_[noisy(2.3)[:250], 2.3 * 1.5 ** np.arange(50)]).reason
    assert "higher or not finite from lr" in late
    assert "use more steps or larger batches" in late
    assert "end_lr" not in late
    assert "sweep to a higher end_lr" in suggest(lr, noisy(2.3)).reason
    few = LossCurve(lr[:5], [5, 4, 3, 2, 1], num_steps=300).suggest().reason
    assert few == "only 5 finite losses of the 10 that it takes; use more steps"
    assert "only 1 finite loss of" in LossCurve([0.1], [1.0]).suggest().reason


def test_a_linear_sweep_that_begins_too_coarsely_is_said_to():
    lr = np.linspace(1e-5, 1.0, 300)
    found = suggest(lr, 0.3 + 2 / (1 + (lr / 1e-3) ** 1.5) + (lr / 0.3) ** 3)
    assert found.lr is None
    assert "its first points lie decades apart (sweep exponentially" in found.reason


def test_learning_rates_hundreds_of_decades_apart_are_read():
    """Warnings are errors in the tests."""
    lr = 10.0 ** np.linspace(-300, 300, 80)
    assert suggest(lr, np.r_[np.full(40, 2.0), np.full(40, 1.0)] + noisy(0)[:80] / 50).lr > 0


def test_suggestions_survive_a_pickle():
    lr = np.geomspace(1e-7, 10, 300)
    curves = (typical(), (lr, np.ones(300)), (lr, np.full(300, np.nan)))
    for found in (s for c in curves for s in LossCurve(*c).suggestions().values()):
        again = pickle.loads(pickle.dumps(found))
        assert again == found
        assert hash(again) == hash(found)


def test_a_fallback_is_used_where_there_is_no_suggestion_and_only_there():
    lr, loss = typical()
    flat = suggest(lr, np.ones(lr.size), fallback=3e-4)
    assert (flat.lr, flat.method, flat.confident) == (3e-4, "fallback", False)
    assert "never fell" in flat.reason
    assert str(flat).startswith("The fallback lr 0.0003, since none can be read: the loss never")
    assert suggest(lr, loss, fallback=3e-4).lr == suggest(lr, loss).lr


def test_a_loss_still_falling_at_the_end_is_a_doubt_with_a_remedy():
    lr, loss = typical(edge_at=1e9, drop_at=5.0)
    found = suggest(lr, loss)
    assert not found.confident
    assert "raise end_lr" in found.reason
    assert found.diverged_at is None


def test_a_loss_that_falls_from_the_first_lr_is_a_doubt_with_a_remedy():
    lr, loss = typical(start_lr=1e-2, drop_at=2e-2)
    assert "lower start_lr" in suggest(lr, loss).reason


def test_a_weak_drop_is_a_doubt():
    found = suggest(*typical(noise=0.8))
    assert found.lr is not None
    assert not found.confident
    assert "times the noise" in found.reason


@pytest.mark.parametrize(("num_steps", "sure"), [(60, False), (100, True)])
def test_a_sweep_that_hurries_is_a_doubt(num_steps, sure):
    found = suggest(*typical(num_steps))
    assert found.confident == sure
    assert ("use more steps" in found.reason) != sure


def test_few_finite_losses_are_said_to_be_few():
    lr, loss = typical()
    loss[4] = np.inf
    found = suggest(lr, loss)
    assert found.lr is None
    assert "only 4 finite losses before NaN or inf at lr" in found.reason
    assert found.diverged_at == lr[4]
    assert LossCurve(lr[:5], loss[:5], num_steps=300).suggest().lr is None


ANY_FLOAT = st.one_of(
    st.floats(-10, 10), st.floats(allow_nan=False, allow_infinity=False), st.floats()
)


@st.composite
def ugly_curves(draw):
    n = draw(st.integers(10, 80))
    start = draw(st.floats(-290, 280))
    lr = 10 ** (start + np.cumsum(draw(st.lists(st.floats(1e-4, 0.3), min_size=n, max_size=n))))
    pool = draw(st.lists(ANY_FLOAT, min_size=1, max_size=6))
    loss = draw(st.lists(st.sampled_from(pool) | ANY_FLOAT, min_size=n, max_size=n))
    return lr, np.array(loss)


def shuffled_curves(pool, rng, count):
    """Curves of the values of `pool`: in any order, in stretches, and with noise of every size."""
    for _ in range(count):
        n = int(rng.integers(10, 81))
        lr = 10 ** (rng.uniform(-290, 280) + np.cumsum(rng.uniform(1e-4, 0.3, n)))
        loss = np.array(pool)[rng.integers(0, len(pool), n)]
        if rng.random() < 0.5:
            loss = np.sort(loss)[:: rng.choice([-1, 1])]
        if rng.random() < 0.5:
            with np.errstate(over="ignore", invalid="ignore"):
                loss = loss + 10 ** rng.uniform(-8, 4) * rng.standard_normal(n)
        yield lr, loss


def check_no_valid_curve_raises_or_leads_out_of_the_sweep(lr, loss, schedule):
    found = suggest(lr, loss, schedule=schedule)
    assert found.reason
    if found.lr is None:
        assert not found.confident
        assert found.band is None
    else:
        assert lr[0] <= found.band[0] <= found.lr <= found.band[1] <= lr[-1]
    assert str(found)
    if ends := LossCurve(lr, loss).cyclical_range():
        assert lr[0] <= ends[0] <= ends[1] / 3
        assert ends[1] == suggest(lr, loss).lr
    assert smooth_losses(lr, loss, lr.size).size <= lr.size


@settings(max_examples=200)
@given(ugly_curves(), st.sampled_from(sorted(SCHEDULE_FACTORS)))
def test_no_valid_curve_raises_or_leads_out_of_the_sweep(curve, schedule):
    check_no_valid_curve_raises_or_leads_out_of_the_sweep(*curve, schedule)


@given(ugly_curves())
def test_a_peer_that_leads_out_of_the_sweep_says_so(curve):
    lr, loss = curve
    for name in PEERS:
        found = suggest(lr, loss, method=name)
        outside = found.lr is not None and not lr[0] <= found.lr <= lr[-1]
        assert ("outside the sweep" in found.reason) == outside, name


@settings(max_examples=150)
@given(
    pool=st.lists(ANY_FLOAT, min_size=1, max_size=6),
    schedule=st.sampled_from(sorted(SCHEDULE_FACTORS)),
    seed=st.integers(0, 2**32 - 1),
)
def test_nor_do_thousands_of_curves_of_a_few_values_each(pool, schedule, seed):
    """Twenty curves an example: drawing one value by value takes far longer than reading it."""
    for curve in shuffled_curves(pool, np.random.default_rng(seed), 20):
        check_no_valid_curve_raises_or_leads_out_of_the_sweep(*curve, schedule)


@given(
    low=st.floats(-1e300, -1.0) | st.sampled_from([-1.7e308, -100.0]),
    high=st.floats(1.0, 1e300),
    places=st.lists(st.integers(0, 299), min_size=2, max_size=2, unique=True),
    seed=st.integers(0, 50),
)
def test_two_odd_batches_never_make_a_sure_suggestion(low, high, places, seed):
    loss = noisy(0.0, seed)
    loss[places] = low, high
    assert not suggest(np.geomspace(1e-7, 10, 300), loss).confident


@pytest.mark.parametrize("size", [1e-300, 1e30, 1e307])
def test_the_size_of_the_loss_has_no_limit(size):
    lr, loss = typical()
    loss = np.minimum(loss, 4.0)
    assert suggest(lr, size * loss).lr == pytest.approx(suggest(lr, loss).lr)


def test_a_loss_that_only_rises_gets_no_lr():
    lr = np.geomspace(1e-7, 10, 50)
    assert suggest(lr, np.arange(50)).lr is None
    assert "never fell" in suggest(lr, np.repeat([1.0, 2.0], 25)).reason


@pytest.mark.parametrize(
    ("lr", "loss", "options", "error", "message"),
    [
        ([], [], {}, ValueError, "at least 10 points, got 0"),
        (np.geomspace(1e-3, 1, 9), np.ones(9), {}, ValueError, "at least 10 points, got 9"),
        (np.geomspace(1e-3, 1, 10), np.ones(11), {}, ValueError, "loss must be as long as lr"),
        (np.full(10, 0.1), np.ones(10), {}, ValueError, "strictly increasing"),
        (np.linspace(0, 1, 10), np.ones(10), {}, ValueError, "finite numbers > 0"),
        (np.linspace(1, 2, 10), ["a"] * 10, {}, TypeError, "real numbers"),
        (None, None, {"schedule": "cosine"}, ValueError, "schedule must be one of"),
        (None, None, {"schedule": 1}, TypeError, "schedule must be one of"),
        (None, None, {"method": "steepest"}, ValueError, "method must be one of"),
        (None, None, {"fallback": 0}, ValueError, "fallback must be > 0"),
        (None, None, {"fallback": "1e-3"}, TypeError, "fallback must be"),
        (None, None, {"num_steps": 299}, ValueError, "num_steps must be an int >= 300"),
    ],
)
def test_bad_input_is_refused(lr, loss, options, error, message):
    lr, loss = typical() if lr is None else (lr, loss)
    with pytest.raises(error, match=message):
        suggest(lr, loss, **options)


def test_suggestions_read_like_sentences():
    lr, loss = typical()
    sure = str(suggest(lr, loss))
    assert sure.startswith("Suggested lr for the peak of one-cycle training: 0.0")
    assert "usable from" in sure
    assert "for constant lr: " in str(suggest(lr, loss, schedule="constant"))
    assert "with doubt" in str(suggest(*typical(noise=0.8)))
    assert str(suggest(lr, np.ones(300))).startswith("No learning rate suggested")


def test_drop_over_noise_has_a_value_for_every_suggestion():
    assert Suggestion(None, "plateau", "", drop=6.0, noise=2.0).drop_over_noise == 3.0
    assert Suggestion(None, "plateau", "", drop=6.0, noise=0.0).drop_over_noise == math.inf
    assert math.isnan(Suggestion(None, "plateau", "").drop_over_noise)


@pytest.mark.parametrize("lowest", [np.nan, np.inf, -np.inf])
def test_a_curve_without_one_finite_loss_is_answered_not_refused(lowest):
    found = suggest(np.geomspace(1e-7, 10, 50), np.full(50, lowest))
    assert found.lr is None
    assert "only 0 finite losses before NaN or inf at lr 1e-07" in found.reason


def test_a_silent_curve_says_where_the_loss_rises_for_good():
    lr = np.geomspace(1e-7, 10.0, 300)
    rising = np.where(lr < 0.05, 2.3 + 0.1 * np.random.default_rng(0).standard_normal(300), 9.0)
    found = suggest(lr, rising)
    assert found.lr is None
    assert found.diverged_at == pytest.approx(0.05, rel=0.2)
    assert found.start == pytest.approx(2.3, abs=0.1)


@pytest.fixture(scope="module")
def stored(repo):
    """The benchmark's reader of the tasks that are stored in the repository."""
    path = repo / "benchmarks" / "suggestion_data.py"
    spec = importlib.util.spec_from_file_location("suggestion_data", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def test_the_snippet_of_the_page_runs(repo):
    lr, loss = typical()
    page = (repo / "docs" / "suggestion.md").read_text(encoding="utf8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    values = []
    for line in snippet.splitlines():
        values.append(
            eval(line, {"lrsched": lrsched, "curve": LossCurve(lr, loss), "lr": lr, "loss": loss})
        )
    best, constant, peer, every, same = values
    assert best.lr / constant.lr == pytest.approx(2.4, abs=0.1)
    assert (best, peer) == (every["plateau"], every["fastai_valley"])
    assert same == best


def check_stopping_changes_nothing(lr, loss, planned):
    curve, _ = stopped(lr, loss, planned)
    assert curve.suggest() == suggest(lr, loss, num_steps=len(planned))
    whole = LossCurve(lr, loss, num_steps=len(planned))
    assert curve.cyclical_range() == whole.cyclical_range()


@pytest.mark.parametrize("tasks", ["new_tasks", "fresh_tasks"])
def test_stopping_changes_no_answer_on_the_stored_curves(stored, tasks):
    for task in getattr(stored, tasks)():
        for protocol, curves in task.curves.items():
            for lr, loss in curves:
                check_stopping_changes_nothing(lr, loss, stored.PROTOCOLS[protocol])


def test_stopping_changes_no_answer_on_the_curves_of_the_benchmark(bench):
    for task in bench.store.tasks():
        for protocol, curves in bench.store.curves(task).items():
            for curve in curves.values():
                planned = bench.store.PROTOCOLS[protocol]
                check_stopping_changes_nothing(curve["lr"], curve["loss"], planned)


@pytest.mark.parametrize("protocol", ["e7_100", "e7_300", "kt_1852"])
@pytest.mark.parametrize(
    ("tasks", "number", "title"),
    [("new_tasks", 16, "The 16 new kinds"), ("fresh_tasks", 10, "The ten fresh tasks")],
)
def test_the_page_shows_what_suggestions_are_worth(stored, repo, tasks, number, title, protocol):
    regrets = []
    for task in getattr(stored, tasks)():
        for lr, loss in task.curves[protocol]:
            for name, truth in task.truths.items():
                lowest = stored.FALLBACK[task.family]
                use = stored.SCHEDULES[name]
                regrets.append(truth.regret(suggest(lr, loss, schedule=use, fallback=lowest).lr))
    assert len(regrets) == number * 3 * 2
    page = (repo / "docs" / "suggestion.md").read_text(encoding="utf8")
    table = page.partition(title)[2]
    steps = protocol.split("_")[1]
    row = table[table.index(f"| **ours@{steps}** |") :]
    assert row.startswith(f"| **ours@{steps}** | {np.mean(regrets):.3f} ")


@pytest.fixture(scope="module")
def scored(bench):
    def ours(lrs, losses, num_it, schedule):
        use = {"onecycle": "one_cycle", "constant": "constant"}[schedule]
        return suggest(lrs, losses, schedule=use, num_steps=num_it).lr

    tasks = bench.store.tasks()
    return bench.evaluate(bench.adapt({"ours": ours}), tasks)[0]


@pytest.mark.parametrize(("steps", "regret"), [(100, 0.11), (300, 0.075), (1852, 0.06)])
def test_mean_regret_on_the_benchmark(scored, steps, regret):
    both = scored[f"ours@{steps}"]["both"]
    assert both["mean"] <= regret
    assert both["fails"] == 0
    assert both["abstained_tasks"] <= 2


@pytest.mark.parametrize("protocol", ["e7_100", "e7_300", "kt_1852"])
def test_confidence_is_deserved_on_the_benchmark(bench, protocol):
    regrets = []
    for task in bench.store.tasks():
        for name, use in (("onecycle", "one_cycle"), ("constant", "constant")):
            truth = bench.store.truth(task, name)
            for curve in bench.store.curves(task)[protocol].values():
                found = suggest(curve["lr"], curve["loss"], schedule=use)
                if found.confident:
                    regrets.append(truth.regret(found.lr))
    assert len(regrets) > 80
    assert np.mean(np.array(regrets) < 0.25) >= 0.9
