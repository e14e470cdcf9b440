"""What each experiment makes of its results: variants from range tests, tables, verdicts."""

import io
from collections import defaultdict

import numpy as np
import pytest

from lrsched import LossCurve
from lrsched.experiments import report, super_convergence
from lrsched.experiments.catalog import EXPERIMENTS
from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import Size, is_ahead
from lrsched.experiments.optimizers_vs_clr import MODES
from lrsched.experiments.record import Results
from lrsched.experiments.training import Training
from tests.lrsched.helpers import losses_at

SIZE = Size(600, 8)
LR = np.geomspace(1e-6, 10, 200)


def curve(edge_at=0.3, seed=0):
    return LossCurve(LR, losses_at(LR, edge_at=edge_at, seed=seed))


def training(accuracy, *, epochs=8, loss=0.5, max_lr=0.1):
    """A training whose accuracy rises to what is given, in equal steps."""
    accuracies = np.linspace(accuracy / epochs, accuracy, epochs)
    losses = np.linspace(2.0, loss, epochs)
    return Training(losses.tolist(), [(loss, float(a)) for a in accuracies], max_lr)


def results_of(accuracies, curves=None, **options):
    """Results of three seeds, at accuracies that differ by a thousandth."""
    results = Results("Any 1.0")
    for name, found in (curves or {}).items():
        results.curves[name] = {0: found}
        results.seconds["find", name, 0] = 1.0
    for name, accuracy in accuracies.items():
        for seed in range(3):
            of_seed = training(accuracy + seed / 1000, **options)
            results.trainings[name][seed] = of_seed
            results.seconds["train", name, seed] = 2.0
    return results


def planned(name, edges=None, data=None):
    """The settings and variants of an experiment, whose range tests are typical curves."""
    experiment = EXPERIMENTS[name]
    x = np.random.default_rng(0).random((800, 8, 8, 1), dtype=np.float32)
    y = np.arange(800) % 10
    data = experiment.prepared(Dataset("noise", 10, x[:600], y[:600], x[600:], y[600:]))
    settings = experiment.settings(data, SIZE)
    curves = {n: {0: curve((edges or {}).get(n, 0.3))} for n in settings}
    return experiment, settings, experiment.variants(settings, curves, ["one", "other"]), curves


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_variant_ends_with_its_training(name):
    _, _, variants, _ = planned(name)
    assert len({variant.name for variant in variants}) == len(variants) > 1
    for variant in variants:
        steps = variant.setting.total_steps
        assert steps > 0
        if variant.way is None:
            assert variant.lr.total_steps in (None, steps)
            assert variant.momentum is None or variant.momentum.total_steps in (None, steps)
            assert (variant.lr.values(steps) >= 0).all()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_is_shown_as_a_table_a_page_and_a_picture(name, tmp_path):
    console = pytest.importorskip("rich.console", reason="needs rich, of the cli extra")
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    experiment, _, variants, curves = planned(name)
    results = results_of(
        {variant.name: 0.9 for variant in variants}, {n: c[0] for n, c in curves.items()}
    )
    for variant in variants:  # as long as they are planned
        found = {seed: training(0.9, epochs=variant.setting.epochs) for seed in range(3)}
        results.trainings[variant.name] = found
    shown = console.Console(width=100, record=True, file=io.StringIO())
    shown.print(report.rich_table(experiment, results))
    table = experiment.table(results)
    text = shown.export_text()
    page = report.markdown(experiment, [results], f"lrsched experiment {name}")
    for row in table.rows:
        assert len(row) == len(table.columns)
        assert f"| {' | '.join(row)} |" in page
        assert row[0].split()[0] in text
    assert experiment.claim in page
    assert page.rstrip().endswith("```")
    assert report.save_plot(experiment, [results, results], tmp_path).read_bytes()[1:4] == b"PNG"


CONSTANTS = {"constant": 0.9, "constant / 10": 0.8}
GUESSES = {"guess 1e-05": 0.2, "guess 0.0001": 0.9, "guess 0.1": 0.1}


@pytest.mark.parametrize(
    ("name", "accuracies", "holds"),
    [
        ("one_cycle_vs_constant", {**CONSTANTS, "1cycle": 0.95, "1cycle, three phases": 0.9}, True),
        ("one_cycle_vs_constant", {**CONSTANTS, "1cycle": 0.85, "1cycle, three phases": 1}, False),
        ("one_cycle_vs_constant", {**CONSTANTS, "1cycle": 0.9, "1cycle, three phases": 1}, None),
        ("detection", {**CONSTANTS, "1cycle": 0.91}, True),
        ("detection", {"constant": 0.5, "constant / 10": 0.95, "1cycle": 0.91}, False),
        ("found_lr_vs_guesses", {**GUESSES, "found": 0.95}, True),
        ("found_lr_vs_guesses", {**GUESSES, "found": 0.89}, False),
    ],
)
def test_a_claim_holds_where_the_best_of_the_others_is_behind(name, accuracies, holds):
    results = results_of(accuracies, {"range test": curve()})
    verdict = EXPERIMENTS[name].verdict(results)
    assert verdict.holds is holds
    text = report.outcome(EXPERIMENTS[name], verdict)
    assert (EXPERIMENTS[name].caveat in text) is not bool(holds)


def test_a_difference_must_be_twice_its_standard_error():
    def seeds(*accuracies):
        return {seed: training(accuracy) for seed, accuracy in enumerate(accuracies)}

    assert is_ahead(seeds(0.91, 0.92, 0.93), seeds(0.90, 0.91, 0.92)) is True
    assert is_ahead(seeds(0.90, 0.91, 0.92), seeds(0.91, 0.92, 0.93)) is False
    # a mean difference of 0.01, of which 0.01 is the standard error
    assert is_ahead(seeds(0.90, 0.92, 0.94), seeds(0.91, 0.91, 0.91)) is None
    assert is_ahead(seeds(0.9), seeds(0.8)) is None


def super_results(cycles):
    results = Results("Any 1.0", defaultdict(dict), defaultdict(dict), {})
    decays = {2: 0.6, 4: 0.7, 8: 0.8, 16: 0.9}
    for kind, found in (("step decay", decays), ("1cycle", cycles)):
        for epochs, accuracy in found.items():
            name = f"{kind}, {epochs} epochs"
            results.trainings[name] = {s: training(accuracy, epochs=epochs) for s in range(3)}
    results.trainings["constant"] = {s: training(0.85, epochs=16) for s in range(3)}
    return results


@pytest.mark.parametrize(
    ("cycles", "holds", "text"),
    [
        ({2: 0.8, 4: 0.92, 8: 0.95, 16: 0.96}, True, "in 3.6: 4.5 times"),
        ({2: 0.5, 4: 0.7, 8: 0.9, 16: 0.95}, False, "in 8.0: 2.0 times"),
        ({2: 0.5, 4: 0.6, 8: 0.7, 16: 0.8}, False, "does not reach the 0.900"),
    ],
)
def test_super_convergence_counts_the_epochs_to_what_step_decay_reaches(cycles, holds, text):
    verdict = EXPERIMENTS["super_convergence"].verdict(super_results(cycles))
    assert verdict.holds is holds
    assert text in verdict.measured


def test_the_epochs_to_an_accuracy_lie_between_two_lengths_on_a_log_axis():
    epochs_to = super_convergence._epochs_to
    reached = {2: [0.4, 0.6], 8: [0.7, 0.7]}
    assert epochs_to(0.6, reached) == pytest.approx(4.0)
    assert epochs_to(0.3, reached) == 2
    assert epochs_to(0.71, reached) == np.inf


def clr_results(**changes):
    names = [variant.name for variant in planned("optimizers_vs_clr")[2]]
    results = results_of(dict.fromkeys(names, 0.9))
    results.trainings["Adadelta, from scratch"] = {s: training(0.895) for s in range(3)}
    for label, values in changes.items():
        name = {"cycles": "SGD, triangular", "adam": "Adam"}[label]
        for kind, options in values.items():
            found = {seed: training(**options) for seed in range(3)}
            results.trainings[f"{name}, {kind}"] = found
    return results


FASTER = {"from scratch": {"accuracy": 0.9, "loss": 0.1}}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"cycles": FASTER}, True),
        ({"cycles": {"from scratch": {"accuracy": 0.8, "loss": 0.1}}}, False),
        ({}, False),
        ({"cycles": FASTER, "adam": {"fine-tuning": {"accuracy": 0.5}}}, False),
    ],
)
def test_the_claim_of_cycles_has_three_parts(changes, holds):
    assert EXPERIMENTS["optimizers_vs_clr"].verdict(clr_results(**changes)).holds is holds


def test_cycles_end_at_the_bottom_and_their_tops_decay():
    _, _, variants, _ = planned("optimizers_vs_clr")
    tops = {}
    for mode in MODES:
        variant = next(v for v in variants if v.name == f"SGD, {mode}, from scratch")
        steps = variant.setting.total_steps
        epoch = steps // SIZE.epochs
        tops[mode] = [variant.lr(epoch * k) for k in (1, 3, 5, 7)]
        bottoms = [variant.lr(epoch * k) for k in (0, 2, 4, 6, 8)]
        np.testing.assert_allclose(bottoms, bottoms[0], rtol=1e-9)
        assert tops["triangular"][0] == pytest.approx(6 * bottoms[0])
        assert variant.momentum(epoch) == pytest.approx(0.8)
    base = tops["triangular"][0] / 6
    heights = {mode: (np.array(top) - base) / (5 * base) for mode, top in tops.items()}
    np.testing.assert_allclose(heights["triangular2"], [1, 1 / 2, 1 / 4, 1 / 8])
    np.testing.assert_allclose(heights["decaying top"], [1, 3 / 4, 1 / 2, 1 / 4])
    np.testing.assert_allclose(heights["exp_range"], [0.1 ** (k / 8) for k in (1, 3, 5, 7)])


def test_fine_tuning_is_of_the_classes_that_the_pretraining_has_not_seen():
    settings = planned("optimizers_vs_clr")[1]
    fine = settings["fine-tuning"]
    assert set(fine.data.y_train) == set(fine.data.y_val) == {5, 6, 7, 8, 9}
    assert set(fine.pretraining.setting.data.y_train) == {0, 1, 2, 3, 4}
    assert fine.data.num_classes == fine.pretraining.setting.data.num_classes == 10


def test_larger_batches_must_bear_larger_lrs():
    experiment = EXPERIMENTS["batch_size_grid"]
    names = list(planned("batch_size_grid")[1])
    rising = {name: curve(edge_at=0.05 * 3**i) for i, name in enumerate(names)}
    falling = dict(zip(names, reversed(rising.values()), strict=True))
    accuracies = dict.fromkeys(names, 0.9)
    assert experiment.verdict(results_of(accuracies, rising)).holds is True
    assert experiment.verdict(results_of(accuracies, falling)).holds is False


def test_one_flag_allows_a_factor_of_a_half():
    for factor, holds in ((1.4, True), (1.6, False)):
        results = results_of({"one": 0.9, "other": 0.9})
        for seed in range(3):
            results.trainings["other"][seed] = training(0.9, max_lr=0.1 * factor)
        assert EXPERIMENTS["one_flag"].verdict(results).holds is holds
        slower = results_of({"one": 0.9}, max_lr=0.05)
        sentence = EXPERIMENTS["one_flag"].together([results, slower])
        assert f"a factor of {2 * factor:.2f}" in sentence
        assert sentence in report.markdown(EXPERIMENTS["one_flag"], [results, slower], "")
