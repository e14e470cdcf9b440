"""PyTorch schedulers driven by `lrsched` schedules, and an LR range test."""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError('lrsched_torch needs PyTorch: pip install "onecycle-lr[torch]"') from error

from lrsched_torch.finder.context import range_test
from lrsched_torch.finder.lr_find import lr_find
from lrsched_torch.schedulers.cyclic import CyclicLR
from lrsched_torch.schedulers.one_cycle import OneCycleLR
from lrsched_torch.schedulers.schedule_lr import ScheduleLR
from lrsched_torch.steps import steps_for

__all__ = ["CyclicLR", "OneCycleLR", "ScheduleLR", "lr_find", "range_test", "steps_for"]
