"""PyTorch schedulers driven by `lrsched` schedules."""

from lrsched_torch.cyclic import CyclicLR
from lrsched_torch.one_cycle import OneCycleLR
from lrsched_torch.scheduler import ScheduleLR
from lrsched_torch.steps import steps_for

__all__ = ["CyclicLR", "OneCycleLR", "ScheduleLR", "steps_for"]
