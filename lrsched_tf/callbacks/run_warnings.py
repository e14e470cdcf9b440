"""What a callback warns of in one run."""

from __future__ import annotations

from lrsched._warn import warn_user
from lrsched_tf.callbacks.recipe import Schedules

# Updates that loss scaling skips while it halves its first scale; it skips few later.
SKIPPED = 40


class RunWarnings:
    """Warnings of a callback, each of them once a run.

    Args:
        name: Of the callback.
    """

    def __init__(self, name: str) -> None:
        self._name, self._said = name, set[str]()

    def warn(self, message: str) -> None:
        """Warn the user, once a run."""
        if message not in self._said:
            self._said.add(message)
            warn_user(f"{self._name}: {message}")

    def warn_if_shorter(self, schedules: Schedules, end: int) -> None:
        """Warn where schedules end before the run does."""
        totals = {name: schedule.total_steps for name, schedule in schedules.items()}
        ends = {name: total for name, total in totals.items() if total and total < end}
        if ends:
            self.warn(
                f"the schedule of {' and '.join(ends)} ends at step {min(ends.values())}, and its "
                "last value holds from there"
            )

    def warn_if_unfinished(
        self, schedules: Schedules, step: int, is_whole: bool, scales_loss: bool
    ) -> None:
        """Warn where the run has ended at a step before schedules do.

        Args:
            schedules: Of the run.
            step: Updates that it has made, those of runs before it included.
            is_whole: The schedules were made for all of a `fit`.
            scales_loss: Some updates may have been skipped, and do not count.
        """
        remedy = "total_steps are updates, not samples; restart=False goes on in the next fit"
        if is_whole:
            remedy = "the data ran out: give fit as many batches as it was told of"
        totals = {name: schedule.total_steps for name, schedule in schedules.items()}
        slack = SKIPPED if scales_loss else 0
        longer = {n: total for n, total in totals.items() if total and total > step + slack}
        if longer:
            self.warn(
                f"the schedule of {' and '.join(longer)} has {max(longer.values())} steps, and "
                f"the training has ended at step {step} of it ({remedy})"
            )
