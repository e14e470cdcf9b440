"""Finding and naming digits on a canvas: a box and a class for each, two losses in a dict."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lrsched.experiments.dataset import Dataset, on_canvas
from lrsched.experiments.experiment import (
    Curves,
    Experiment,
    Size,
    Table,
    Verdict,
    best_of,
    constant_or_one_cycle,
    is_ahead,
    mean,
    training_table,
)
from lrsched.experiments.record import Results
from lrsched.experiments.training import LOCATOR, Setting, Variant

SWEEP = "range test"


class Detection(Experiment):
    """Constant lr and 1cycle for an object detector of one object."""

    name = "detection"
    claim = (
        "The range test and 1cycle serve object detection as they serve classification: the sum of "
        "its losses is swept, and 1cycle is ahead of a constant lr."
    )
    source = "detection libraries on fastai that train by fit_one_cycle, such as IceVision"
    caveat = "One object on an empty canvas is easier than photographs; the losses are of one kind."
    size = Size(3000, 8)
    quick = Size(900, 2, 200)

    def prepared(self, data: Dataset) -> Dataset:
        return on_canvas(data)

    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        return {SWEEP: Setting(data, LOCATOR, epochs=size.epochs, sweep_steps=size.sweep_steps)}

    def variants(
        self, settings: Mapping[str, Setting], curves: Curves, ways: Collection[str]
    ) -> list[Variant]:
        return constant_or_one_cycle(settings[SWEEP], curves, SWEEP)

    def table(self, results: Results) -> Table:
        return training_table(results)

    def verdict(self, results: Results) -> Verdict:
        accuracy = {name: mean(found) for name, found in results.trainings.items()}
        constants = {n: f for n, f in results.trainings.items() if n.startswith("constant")}
        return Verdict(
            "Found, with the right class and half of the box or more: 1cycle "
            f"{accuracy['1cycle']:.3f}, constant {accuracy['constant']:.3f}, a tenth of it "
            f"{accuracy['constant / 10']:.3f}.",
            is_ahead(results.trainings["1cycle"], constants[best_of(constants)]),
        )
