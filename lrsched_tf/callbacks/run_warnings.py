"""What a callback warns of in one run."""

from __future__ import annotations

from lrsched import Schedule
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
        end = step + (SKIPPED if scales_loss else 0)
        longer = {n: s for n, s in schedules.items() if (s.total_steps or _first_cycle(s)) > end}
        if not longer:
            return
        names, first = " and ".join(longer), next(iter(longer.values()))
        total, what = first.total_steps, "total_steps"
        has = f"has {total} steps"
        if total is None:
            has, what = f"has its first cycle until step {_first_cycle(first)}", "step_size"
        remedy = f"{what} counts updates, not samples; restart=False goes on in the next fit"
        if is_whole and total is not None:
            remedy = "the data ran out: give fit as many batches as it was told of"
        self.warn(
            f"the schedule of {names} {has}, and the training has ended at step {step} of it "
            f"({remedy})"
        )


def _first_cycle(schedule: Schedule) -> int:
    """Return the step at which the first cycle of an endless schedule ends; 0 without cycles."""
    if schedule.loop_from is None or schedule.period is None:
        return 0
    # A decay by steps repeats a value.
    is_cycle = any(segment.start_value != segment.end_value for segment in schedule.segments)
    return schedule.loop_from + schedule.period if is_cycle else 0
