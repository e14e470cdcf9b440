"""1cycle against constant learning rates, over the same few epochs."""

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
    constant_or_one_cycle,
    is_ahead,
    mean,
    suggested,
    training_table,
)
from lrsched.experiments.record import Results
from lrsched.experiments.training import CNN, Setting, Variant
from lrsched.schedules import one_cycle_original, one_cycle_original_momentum

SWEEP = "range test"


class OneCycleVsConstant(Experiment):
    """Range test; constant at the suggestion and a tenth of it; 1cycle in two forms."""

    name = "one_cycle_vs_constant"
    claim = (
        "In the same 2 epochs on MNIST, 1cycle reaches 99.3%, a constant lr of 5e-2 97.7% and one "
        "of 5e-3 97.8%."
    )
    source = "fastai's MNIST sample"
    caveat = (
        "With enough epochs for either to finish, a constant lr catches up; 1cycle is ahead where "
        "the budget is short."
    )
    size = Size(4000, 2)
    quick = Size(1000, 1, 200)

    def settings(self, data: Dataset, size: Size) -> dict[str, Setting]:
        return {
            SWEEP: Setting(
                data, CNN, batch_size=16, epochs=size.epochs, sweep_steps=size.sweep_steps
            )
        }

    def variants(
        self, settings: Mapping[str, Setting], curves: Curves, ways: Collection[str]
    ) -> list[Variant]:
        setting = settings[SWEEP]
        peak, steps = suggested(curves, SWEEP, "one_cycle"), setting.total_steps
        original = one_cycle_original(peak, steps), one_cycle_original_momentum(steps)
        return [
            *constant_or_one_cycle(setting, curves, SWEEP),
            Variant("1cycle, three phases", setting, *original),
        ]

    def table(self, results: Results) -> Table:
        return training_table(results)

    def verdict(self, results: Results) -> Verdict:
        accuracy = {name: mean(found) for name, found in results.trainings.items()}
        constants = {n: f for n, f in results.trainings.items() if n.startswith("constant")}
        cycles = accuracy["1cycle"], accuracy["1cycle, three phases"]
        return Verdict(
            f"1cycle {cycles[0]:.3f}, in its original three phases {cycles[1]:.3f}; constant "
            f"{accuracy['constant']:.3f}, a tenth of it {accuracy['constant / 10']:.3f}.",
            is_ahead(results.trainings["1cycle"], constants[best_of(constants)]),
        )
