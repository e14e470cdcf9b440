"""A learning rate that was found against the guesses that people start from."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import (
    Curves,
    Experiment,
    Size,
    Table,
    Verdict,
    best_of,
    is_ahead,
    mean,
    mean_seconds,
    suggested,
    training_table,
)
from lrsched.experiments.record import Results
from lrsched.experiments.training import LENET, Optimizer, Setting, Variant
from lrsched.schedules import constant

SWEEP = "range test"
GUESSES = (1e-5, 1e-4, 1e-1)


class FoundLrVsGuesses(Experiment):
    """LeNet with Adam at 1e-5, 1e-4, 1e-1 and at the lr that a range test suggests."""

    name = "found_lr_vs_guesses"
    claim = (
        "LeNet with Adam trains better at the lr that a range test of 12 seconds finds than at "
        "1e-5, 1e-4 or 1e-1."
    )
    source = "a common comparison of trainers with a finder built in, on Fashion-MNIST"
    caveat = "A guess that happens to lie next to the lr found does as well."
    size = Size(3000, 4)
    quick = Size(1500, 2, 200)

    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        adam = Optimizer("adam", momentum=0.0)
        return {SWEEP: Setting(data, LENET, adam, 64, size.epochs, size.sweep_steps)}

    def variants(
        self, settings: Mapping[str, Setting], curves: Curves, ways: Collection[str]
    ) -> list[Variant]:
        found = suggested(curves, SWEEP, "constant")
        lrs = {**{f"guess {lr:g}": lr for lr in GUESSES}, "found": found}
        return [Variant(name, settings[SWEEP], constant(lr)) for name, lr in lrs.items()]

    def table(self, results: Results) -> Table:
        columns, rows = training_table(results)
        seconds = f"{mean_seconds(results, 'find', SWEEP):.1f}"
        return Table(columns, [*rows, ("to find it", "", seconds, "", "")])

    def verdict(self, results: Results) -> Verdict:
        accuracy = {name: mean(found) for name, found in results.trainings.items()}
        guesses = {n: f for n, f in results.trainings.items() if n != "found"}
        found, best = accuracy["found"], best_of(guesses)
        seconds = mean_seconds(results, "find", SWEEP)
        return Verdict(
            f"The lr found reaches {found:.3f}, the best guess ({best}) {accuracy[best]:.3f}; "
            f"finding it took {seconds:.1f} s.",
            is_ahead(results.trainings["found"], guesses[best]),
        )
