"""Learning-rate policy for Keras 3 on any backend: callbacks, range test, in-graph schedule."""

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise
    raise ImportError('lrsched_tf needs Keras: pip install "onecycle-lr[tf]"') from error

from lrsched_tf.callbacks.cycles import CyclicalLR, OneCycle
from lrsched_tf.callbacks.one_cycle_fit import fit_one_cycle
from lrsched_tf.callbacks.schedule_callback import ScheduleCallback
from lrsched_tf.compiled.keras_schedule import KerasSchedule
from lrsched_tf.finder.callback import LRFinder
from lrsched_tf.finder.lr_find import lr_find

__all__ = [
    "CyclicalLR",
    "KerasSchedule",
    "LRFinder",
    "OneCycle",
    "ScheduleCallback",
    "fit_one_cycle",
    "lr_find",
]
