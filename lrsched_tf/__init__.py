"""Learning-rate policy for Keras 3 on any backend: callbacks, and an in-graph schedule."""

from lrsched_tf.callbacks import ScheduleCallback
from lrsched_tf.cycles import CyclicalLR, OneCycle
from lrsched_tf.range_test import LRFinder, lr_find
from lrsched_tf.schedule import KerasSchedule

__all__ = ["CyclicalLR", "KerasSchedule", "LRFinder", "OneCycle", "ScheduleCallback", "lr_find"]
