"""The experiments by name."""

from __future__ import annotations

from lrsched.experiments.detection import Detection
from lrsched.experiments.experiment import Experiment
from lrsched.experiments.found_lr_vs_guesses import FoundLrVsGuesses
from lrsched.experiments.grids import BatchSizeGrid, WeightDecayGrid
from lrsched.experiments.one_cycle_vs_constant import OneCycleVsConstant
from lrsched.experiments.one_flag import OneFlag
from lrsched.experiments.optimizers_vs_clr import OptimizersVsClr
from lrsched.experiments.super_convergence import SuperConvergence

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        OneCycleVsConstant(),
        SuperConvergence(),
        FoundLrVsGuesses(),
        OptimizersVsClr(),
        WeightDecayGrid(),
        BatchSizeGrid(),
        OneFlag(),
        Detection(),
    )
}
