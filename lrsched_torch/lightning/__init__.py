"""LR range test for Lightning, as a callback."""

from lrsched_torch.lightning.finder import LearningRateFinder

__all__ = ["LearningRateFinder"]
