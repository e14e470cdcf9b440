"""The default rule: what it says, what it must not depend on, and when it says nothing."""

import math
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.suggestion import SCHEDULE_FACTORS, Suggestion, suggest
from tests.lrsched.helpers import noisy, stopped, typical


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
def test_a_clear_curve_gets_a_confident_lr_between_drop_and_divergence(noise):
    found = suggest(*typical(noise=noise))
    assert found.confident
    assert 1e-3 < found.lr < 0.3
    low, high = found.band
    assert low < found.lr < high <= found.diverged_at
    assert found.drop == pytest.approx(2.0, rel=0.15)
    assert found.noise == pytest.approx(noise, rel=0.5, abs=5e-3)


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


LR = np.geomspace(1e-7, 10, 300)
SILENT = {
    "rising from the start": (
        (np.geomspace(0.1, 100, 100), 2.3 * 1.2 ** np.arange(100)),
        "higher or not finite from lr 0.27 on; sweep from a lower start_lr",
    ),
    "not finite early": (
        (LR, np.r_[np.full(12, 2.3), np.full(288, np.nan)]),
        "not finite from lr 2.1e-07 on; sweep from a lower start_lr",
    ),
    "rising late": (
        (LR, np.r_[noisy(2.3)[:250], 2.3 * 1.5 ** np.arange(50)]),
        "from lr 0.49 on.*use more steps or larger batches",
    ),
    "noise": ((LR, noisy(2.3)), "sweep to a higher end_lr"),
    "never lower": ((np.geomspace(1e-7, 10, 50), np.repeat([1.0, 2.0], 25)), "never fell"),
    "few points": ((LR[:5], [5, 4, 3, 2, 1]), "only 5 finite losses of the 10 .*; use more steps$"),
    "one point": (([0.1], [1.0]), "only 1 finite loss of"),
    "few finite": (
        (LR, np.r_[5, 4, 3, 2, np.inf, np.ones(295)]),
        "only 4 finite losses before NaN or inf at lr",
    ),
    "none finite": (
        (LR, np.full(300, -np.inf)),
        "the first loss is NaN or infinite already; look for the cause",
    ),
}


@pytest.mark.parametrize("case", SILENT)
def test_a_curve_without_a_drop_gets_the_advice_that_fits(case):
    points, advice = SILENT[case]
    found = LossCurve(*points).suggest()
    assert (found.lr, found.confident) == (None, False)
    assert re.search(advice, found.reason)


@pytest.mark.parametrize(
    ("best", "depth", "has_lr", "remedy"),
    [
        (1e-5, 0.3, False, "use sweep='exponential' (this one hurries there) or larger batches"),
        (1e-5, 4.0, True, "use sweep='exponential' (this one hurries there) or larger batches"),
        (1e-2, 0.3, False, "use more steps or larger batches"),
        (1e-2, 4.0, True, "use more steps or larger batches"),
    ],
)
def test_more_steps_are_asked_for_only_where_a_sweep_by_two_speeds_has_more(
    best, depth, has_lr, remedy
):
    lr = lrsched.two_speed_sweep(1e-7, 10.0, 300).values()
    shape = -depth / (1 + (best / lr) ** 2) + np.minimum((lr / best / 30) ** 3, 1e3)
    found = suggest(lr, shape + np.random.default_rng(3).normal(size=300))
    assert (found.lr is not None) == has_lr
    assert not found.confident
    assert remedy in found.reason


def test_a_linear_sweep_that_begins_too_coarsely_is_said_to():
    lr = np.linspace(1e-5, 1.0, 300)
    found = suggest(lr, 0.3 + 2 / (1 + (lr / 1e-3) ** 1.5) + (lr / 0.3) ** 3)
    assert found.lr is None
    assert "its first points lie decades apart (sweep exponentially" in found.reason


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


DOUBTS = {
    "still falling at the end": ((300, {"edge_at": 1e9, "drop_at": 5.0}), "raise end_lr"),
    "falling from the first lr": ((300, {"start_lr": 1e-2, "drop_at": 2e-2}), "lower start_lr"),
    "a weak drop": ((300, {"noise": 0.8}), "times the noise"),
    "a sweep that hurries": ((60, {}), "use more steps"),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_a_doubt_has_a_remedy(case):
    (num_steps, shape), remedy = DOUBTS[case]
    found = suggest(*typical(num_steps, **shape))
    assert found.lr is not None
    assert not found.confident
    assert remedy in found.reason
    assert suggest(*typical(100)).confident


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
        (None, None, {"pretrained": "yes"}, TypeError, "pretrained must be"),
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
    silent = str(suggest(lr, np.ones(300)))
    assert silent.startswith("No learning rate suggested: the loss never fell")
    assert silent.endswith("take what is usual: 1e-3 with Adam, 0.1 with SGD.")
    peer = str(suggest(lr, np.full(300, math.nan), method="fastai_valley"))
    assert peer.startswith("No learning rate suggested by fastai_valley: this rule fails")
    assert peer.endswith("suggestions() asks them all.")


RISING = np.geomspace(1e-6, 10, 200), np.where(np.geomspace(1e-6, 10, 200) < 0.5, 1.0, 9.0)


@pytest.mark.parametrize(("schedule", "factor"), [("one_cycle", 12.6), ("constant", 32)])
def test_where_nothing_falls_there_is_a_guess_well_below_the_rise(schedule, factor):
    found = suggest(*RISING, schedule=schedule)
    assert found.lr is None
    assert found.guess == pytest.approx(found.diverged_at / factor)
    guess = f"{found.guess:.2g}"
    assert f"fresh (suggest(pretrained=False) takes {guess}) or trained already" in found.reason
    assert str(found).endswith("? Say which, if you need one now.")


@pytest.mark.parametrize(("pretrained", "part"), [(False, 1), (True, 10)])
def test_who_says_whether_the_model_is_trained_gets_the_guess(pretrained, part):
    silent = suggest(*RISING)
    for found in (
        suggest(*RISING, pretrained=pretrained, fallback=1.0),
        LossCurve(*RISING).suggest(pretrained=pretrained),
    ):
        assert found.lr == pytest.approx(silent.guess / part)
        assert (found.method, found.confident, found.band) == ("guess", False, None)
        assert "?" not in found.reason
        assert str(found).startswith(f"A guess for the peak of one-cycle training: {found.lr:.3g}")


def test_without_a_rise_inside_the_sweep_there_is_no_guess():
    flat = suggest(RISING[0], np.ones(200), pretrained=False)
    assert (flat.lr, flat.guess) == (None, None)
    soon = suggest(RISING[0], np.where(RISING[0] < 5e-6, 1.0, 9.0), pretrained=False)
    assert (soon.lr, soon.guess) == (None, None)
    assert suggest(*RISING, fallback=1.0).lr == 1.0
    assert suggest(*typical(), pretrained=True).method == "plateau"


def test_drop_over_noise_has_a_value_for_every_suggestion():
    assert Suggestion(None, "plateau", "", drop=6.0, noise=2.0).drop_over_noise == 3.0
    assert Suggestion(None, "plateau", "", drop=6.0, noise=0.0).drop_over_noise == math.inf
    assert math.isnan(Suggestion(None, "plateau", "").drop_over_noise)


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
