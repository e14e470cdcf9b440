"""A range test at the start of `Trainer.fit`, in the place of Lightning's LearningRateFinder.

Not imported by `lrsched_torch` itself: `from lrsched_torch.lightning import LearningRateFinder`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import reduce
from numbers import Real
from typing import Any, NoReturn

from lrsched._names import CALLBACK, TEST, answers_to, no_attribute
from lrsched._validate import check_bool, check_choice, check_positive, check_type, shown
from lrsched.curve.loss_curve import LossCurve
from lrsched.curve.suggestion import SCHEDULE_FACTORS, Suggestion
from lrsched.engine.schedule import Schedule
from lrsched.range_test import DEFAULT_SWEEP, TWO_SPEED, RangeTest
from lrsched_torch.finder.arguments import GROUPS, listed
from lrsched_torch.finder.context import range_test
from lrsched_torch.finder.driver import shares
from lrsched_torch.lightning.dry_run import (
    DryRun,
    dry_run,
    find_lightning,
    restored_attributes,
)
from lrsched_torch.param_groups import LR, unalias

pl = find_lightning()
ON_DOUBT = ("warn", "raise", "use")
NO_LOSS = "training_step gave no loss"
Place = tuple[Any, str]


class LearningRateFinder(pl.Callback):  # type: ignore[name-defined, misc]
    """Find a learning rate at the start of `fit`, set it, and train as if that were all.

    Runs `lrsched_torch.range_test` on the LightningModule with the trainer's own optimizer, train
    dataloader, precision, gradient clipping, accumulation and strategy. Afterwards, also after an
    exception or Ctrl-C, the model, the random number generators, the order of the batches, the
    trainer, its loops, loggers and other callbacks are as they were. Meanwhile
    `trainer.global_step` goes on, the numbers that `self.log` is given can be read in
    `trainer.callback_metrics` and are logged nowhere, and hooks of other callbacks do not run;
    those of the LightningModule around a batch do. A batch for which `training_step` returns None
    is skipped: the next one has its lr.
    `train_dataloader` is called once more than without a finder.

    Then the lr is set, and `configure_optimizers` runs again, so that schedulers built from it,
    such as OneCycleLR, use it too. A fit that resumes from a checkpoint, and `fast_dev_run`, go on
    without a range test.

    Args:
        attr: Attribute of the LightningModule, or entry of its `hparams`, or both, that
            `configure_optimizers` takes the lr from; dots lead into what it holds
            ("optimizer.lr"). None sets the lr of the optimizer alone or, beside a scheduler, which
            would overwrite it, nothing: then the curve is all there is.
        start_lr: First learning rate, > 0.
        end_lr: Last learning rate, > `start_lr`.
        num_steps: Number of updates, int >= 5.
        sweep: "two_speed" (fast up to a tenth of the optimizer's own lr, at most 10**-3.5),
            "exponential", "linear", or a rising Schedule (without the three above).
        stop_factor: As for `lrsched.RangeTest`.
        schedule: What the lr is for: "one_cycle", whose peak it becomes, or "constant".
        on_doubt: What to do with a suggestion that is not confident. "warn" says so and leaves the
            lr as it was: a training that nobody watches had better run with a lr that somebody
            chose than with one that the curve does not support. "raise" ends the fit. "use" takes
            it; where there is none at all, it takes `fallback`, or warns as well.
        fallback: The lr to use where the suggestion has none, > 0, with `on_doubt="use"`; None
            leaves the lr as it was.
        pretrained: Whether the module is trained already, which tells the lr where the loss only
            rises, as for `LossCurve.suggest`; such a lr is in doubt. None for unknown.
        groups: As for `lrsched_torch.range_test`; with `attr=None`, also how the lr is set.
        stateful: As for `lrsched_torch.range_test`, beside the trainer's GradScaler.
        snapshot_device: As for `lrsched_torch.range_test`.
        verify: As for `lrsched_torch.range_test`.

    Attributes:
        curve: The `LossCurve` of the last range test; None before.
        suggestion: Its `Suggestion`; None before.

    Raises:
        TypeError: an argument of the wrong kind.
        ValueError: an argument out of range; at the start of `fit` also an `attr` that is not
            there or that `configure_optimizers` does not read, manual optimization, or several
            optimizers.
        RuntimeError: the suggestion is not confident, with `on_doubt="raise"`.
    """

    @answers_to(CALLBACK)
    def __init__(
        self,
        attr: str | None = "lr",
        *,
        start_lr: float = DEFAULT_SWEEP[0],
        end_lr: float = DEFAULT_SWEEP[1],
        num_steps: int = DEFAULT_SWEEP[2],
        sweep: str | Schedule = TWO_SPEED,
        stop_factor: float | None = 2.0,
        schedule: str = "one_cycle",
        on_doubt: str = "warn",
        fallback: float | None = None,
        pretrained: bool | None = None,
        groups: str = "ratio",
        stateful: Iterable[Any] = (),
        snapshot_device: Any = None,
        verify: bool = True,
    ) -> None:
        super().__init__()
        if attr is not None:
            check_type("attr", attr, str)
        self._attr = attr
        RangeTest(start_lr, end_lr, num_steps, sweep=sweep, stop_factor=stop_factor)
        self._schedule = check_choice("schedule", schedule, SCHEDULE_FACTORS)
        self._on_doubt = check_choice("on_doubt", on_doubt, ON_DOUBT)
        self._fallback = None if fallback is None else check_positive("fallback", fallback)
        if fallback is not None and on_doubt != "use":
            raise ValueError(
                f"fallback must come with on_doubt='use', got on_doubt={on_doubt!r}, which sets no "
                "lr that is in doubt"
            )
        self._pretrained = None if pretrained is None else check_bool("pretrained", pretrained)
        self._groups = check_choice("groups", groups, GROUPS)
        self._stateful = listed(stateful)
        self._options: dict[str, Any] = {
            "start_lr": start_lr,
            "end_lr": end_lr,
            "num_steps": num_steps,
            "sweep": sweep,
            "stop_factor": stop_factor,
            "groups": groups,
            "snapshot_device": snapshot_device,
            "verify": check_bool("verify", verify),
        }
        self.curve: LossCurve | None = None
        self.suggestion: Suggestion | None = None

    def __getattr__(self, name: str) -> NoReturn:
        raise no_attribute(self, name, {**TEST, "optimal_lr": "suggestion", "lr_find": "curve"})

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Run the range test and set the lr; called by the trainer."""
        if trainer.ckpt_path is not None or trainer.fast_dev_run:
            why = "fast_dev_run is on" if trainer.fast_dev_run else "the fit resumes a checkpoint"
            _say(f"No range test, since {why}: the learning rate is left as it was.")
            return
        check_supported(trainer, pl_module)
        places = self._places(trainer, pl_module)
        curve = self._run(trainer, pl_module)
        if curve is None:
            return
        self.curve = curve
        self.suggestion = curve.suggest(
            schedule=self._schedule, fallback=self._fallback, pretrained=self._pretrained
        )
        lr = self._judge(self.suggestion)
        if lr is not None and self._attr is None:
            if _scheduled(trainer):
                return
            _set_in_groups(trainer.optimizers[0].param_groups, lr, self._groups)
        elif lr is not None:
            _set_in_places(trainer, self._attr, places, lr)

    def _run(self, trainer: Any, module: Any) -> LossCurve | None:
        with dry_run(trainer, module) as run:
            if run is None:
                return None
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            stateful = self._stateful if scaler is None else (*self._stateful, scaler)
            test = range_test(module, trainer.optimizers[0], stateful=stateful, **self._options)
            loss = None
            with test, restored_attributes(trainer, module), closing(run):
                run.begin()
                for batches in test.batches(run):
                    loss = run.update(batches)
                    if loss is None:
                        break
                    test.record(loss)
            return _with_skipped(test.curve, run, ended=loss is None)

    def _places(self, trainer: Any, module: Any) -> list[Place]:
        """Return what holds the lr, each with the name that it has there."""
        if self._attr is not None:
            return _find(module, self._attr)
        if _scheduled(trainer):
            pl.utilities.rank_zero_warn(
                "The scheduler of configure_optimizers sets the lr: the range test leaves it to it "
                "(attr= names what configure_optimizers takes the lr from)."
            )
        return []

    def _judge(self, found: Suggestion) -> float | None:
        """Return the lr to set, or None."""
        if found.confident or (self._on_doubt == "use" and found.lr is not None):
            _say(str(found))
            return found.lr
        if self._on_doubt == "raise":
            raise RuntimeError(f"{found} (on_doubt='warn' would go on with the lr as it is)")
        remedy = "" if found.lr is None else " (on_doubt='use' would take this one)"
        pl.utilities.rank_zero_warn(f"{found} The learning rate is left as it was{remedy}.")
        return None


def _scheduled(trainer: Any) -> bool:
    """Return whether a scheduler would overwrite a lr that is set in the optimizer alone."""
    return any(not config.reduce_on_plateau for config in trainer.lr_scheduler_configs)


def _with_skipped(curve: LossCurve, run: DryRun, *, ended: bool) -> LossCurve:
    """Return the curve with what is to be known of batches without a loss."""
    if not run.skipped:
        return curve
    batches = "1 batch, which is" if run.skipped == 1 else f"{run.skipped} batches, which are"
    note = f"training_step gave no loss (None) for {batches} not in the curve."
    if ended:
        note += f" The sweep ended, since there was none in the last {run.in_vain} updates."
        pl.utilities.rank_zero_warn(f"{note} training_step must return the loss of a batch.")
    reason = NO_LOSS if ended else curve.stop_reason
    return dataclasses.replace(curve, stop_reason=reason, notes=(*curve.notes, note))


def _say(sentence: str) -> None:
    pl.utilities.rank_zero_info(sentence)


def check_supported(trainer: Any, module: Any) -> None:
    """Refuse a training that is not one optimizer, stepped by Lightning."""
    reasons = {
        "manual optimization": not module.automatic_optimization,
        "several optimizers": len(trainer.optimizers) > 1,
        "a training_step that reads the loader itself (dataloader_iter)": "dataloader_iter"
        in inspect.signature(module.training_step).parameters,
        f"{type(trainer.strategy).__name__}": trainer.strategy.handles_gradient_accumulation,
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(
                f"LearningRateFinder must have one optimizer that Lightning steps, got {reason} "
                "(use lrsched_torch.range_test around a loop of your own)"
            )


def _find(module: Any, attr: str) -> list[Place]:
    """Return where an attribute is: in the hyper-parameters, in the module, or in both."""
    places = []
    *path, name = attr.split(".")
    for root in (module.hparams, module):
        try:
            holder = reduce(_get, path, root)
            value = _get(holder, name)
        except (AttributeError, KeyError):
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"attr must name a number, got {attr!r}, which is {shown(value)}")
        places.append((holder, name))
    if not places:
        raise ValueError(
            f"attr must name an attribute of {type(module).__name__} or an entry of its hparams, "
            f"got {attr!r} (None sets the lr of the optimizer alone)"
        )
    return places


def _get(holder: Any, name: str) -> Any:
    return holder[name] if isinstance(holder, Mapping) else getattr(holder, name)


def _set(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, Mapping):
        holder[name] = value  # type: ignore[index]
    elif _get(holder, name) != value:
        # A property that reads the hyper-parameters has it already.
        setattr(holder, name, value)


def _set_in_places(trainer: Any, attr: str | None, places: list[Place], lr: float) -> None:
    """Set the lr where it is kept, and have optimizer and schedulers made from it."""
    before = [_get(*place) for place in places]
    settings = _settings(trainer)
    for place in places:
        _set(*place, lr)
    trainer.strategy.setup_optimizers(trainer)
    if lr not in before and _settings(trainer) == settings:
        for place, value in zip(places, before, strict=True):
            _set(*place, value)
        raise ValueError(
            f"attr must name what configure_optimizers takes the lr from, got {attr!r}, "
            "whose value changes nothing in the optimizer and its schedulers"
        )


def _settings(trainer: Any) -> str:
    """Return all numbers of the optimizer and its schedulers."""
    groups = [dict(group, params=None) for o in trainer.optimizers for group in o.param_groups]
    states = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
    return repr((groups, states))


def _set_in_groups(groups: list[dict[str, Any]], lr: float, how: str) -> None:
    unalias(groups, ["lr"])
    for group, share in zip(groups, shares(groups, how), strict=True):
        LR.write(group, lr * share)
