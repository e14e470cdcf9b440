"""LR range test for Lightning: as a callback, and without a fit."""

from lrsched_torch.lightning.finder import LearningRateFinder
from lrsched_torch.lightning.without_fit import lr_find

__all__ = ["LearningRateFinder", "lr_find"]
