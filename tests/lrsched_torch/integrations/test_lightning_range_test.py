"""LearningRateFinder in a real Trainer leaves no trace, and measures what a plain loop does."""

import os
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("lightning", reason="needs lightning, of the integrations extra")

import lightning
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lrsched
from lrsched_torch import lr_find
from tests.lrsched_torch.integrations.lightning_training import (
    BATCHES,
    STEPS,
    Classifier,
    Planned,
    State,
    Stream,
    finder,
    fit,
    float16,
    loader,
    working_loader,
)

KINDS = {
    "shuffled by the global generator": {},
    "workers at work already": {"make": Planned, "batches": lambda: working_loader(5)},
    "shuffled by its own generator": {"batches": lambda: loader(2)},
    "two loaders": {"batches": lambda: {"a": loader(3), "b": loader()}},
    "a stream without a length": {"batches": lambda: DataLoader(Stream(), 16)},
    "bfloat16": {"precision": "bf16-mixed"},
    "float16 with a GradScaler": {"plugins": [float16]},
    "accumulation and clipping": {"accumulate_grad_batches": 5, "gradient_clip_val": 0.5},
    "part of an epoch": {"limit_train_batches": 7},
    "one batch again and again": {"overfit_batches": 1},
}


@pytest.mark.parametrize("kind", KINDS)
def test_training_after_it_is_bitwise_that_with_the_lr_set_by_hand(kind, tmp_path):
    ours = finder()
    options = {"make": Classifier, **KINDS[kind]}
    make = options["make"]
    module, _, trace = fit(tmp_path / "ours", callbacks=[ours], **options)
    assert len(ours.curve) > 40
    assert module.lr == ours.suggestion.lr != 0.01
    assert not any("could not put back" in note for note in ours.curve.notes)
    options["make"] = lambda: make(module.lr)
    _, _, by_hand = fit(tmp_path / "by_hand", **options)
    assert trace == by_hand
    # Updates that the GradScaler skips use up no step.
    used = list(dict.fromkeys(trace["lrs"]))
    assert used == list(lrsched.one_cycle(module.lr, STEPS).values(len(used)))


def test_a_trace_would_be_seen(tmp_path):
    class Careless(Callback):
        def on_fit_start(self, trainer, module):
            torch.rand(1)

    _, _, trace = fit(tmp_path / "plain")
    _, _, other = fit(tmp_path / "careless", callbacks=[Careless()])
    assert trace != other


class Counting(Dataset):
    """Counts what is read, and draws from a generator of its own."""

    def __init__(self):
        self.reads, self.rng = 0, np.random.default_rng(0)

    def __len__(self):
        return 96

    def __getitem__(self, index):
        self.reads += 1
        x = torch.tensor(self.rng.normal(size=8), dtype=torch.float32)
        return x, int(x[0] > 0)


class OfCounting(lightning.LightningDataModule):
    def __init__(self):
        super().__init__()
        self.rows = Counting()

    def train_dataloader(self):
        return DataLoader(self.rows, 8)


def test_the_data_of_a_data_module_is_put_back(tmp_path):
    data, ours = OfCounting(), finder()
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[ours],
        default_root_dir=tmp_path,
        enable_progress_bar=False,
    )
    trainer.fit(Classifier(), datamodule=data)
    assert len(ours.curve) > 40
    assert not any("could not put back" in note for note in ours.curve.notes)
    assert data.rows.reads == len(data.rows)  # in the training


def test_accumulation_that_a_callback_plans_is_that_of_the_sweep(tmp_path):
    def curve(callbacks, **options):
        ours = finder()
        fit(tmp_path, callbacks=[ours, *callbacks], **options)
        return ours.curve

    planned = curve([GradientAccumulationScheduler({0: 3})])
    assert planned.loss.tolist() == curve([], accumulate_grad_batches=3).loss.tolist()
    assert planned.loss.tolist() != curve([]).loss.tolist()


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_curve_is_that_of_a_plain_loop(accumulate, tmp_path):
    class Plain(Classifier):
        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.layers.parameters(), lr=self.lr, momentum=0.9)

    def quiet():
        module = Plain()
        module.layers[3].p = 0.0
        return module

    ours = finder(num_steps=40)
    options = {"batches": lambda: loader(shuffle=False), "accumulate_grad_batches": accumulate}
    fit(tmp_path, quiet, [ours], **options)
    lightning.seed_everything(1, verbose=False)
    module = quiet()
    by_hand = lr_find(
        module,
        torch.optim.SGD(module.layers.parameters(), lr=0.01, momentum=0.9),
        nn.CrossEntropyLoss(),
        loader(shuffle=False),
        start_lr=1e-5,
        end_lr=10.0,
        num_steps=40,
        accumulate=accumulate,
        forward=lambda module, batch: module.layers(batch[0]),
    )
    np.testing.assert_allclose(ours.curve.loss, by_hand.loss, rtol=0 if accumulate == 1 else 1e-5)
    assert ours.curve.lr.tolist() == by_hand.lr.tolist()


def test_the_trainer_and_its_callbacks_are_left_alone(tmp_path):
    state, again, stopping = State(), State(), EarlyStopping("val_loss")
    others = [state, finder(attr=None), again, stopping, LearningRateMonitor()]

    def make():
        module = Classifier()
        module.configure_optimizers = lambda: torch.optim.Adam(module.parameters(), lr=0.01)
        return module

    patience = stopping.state_dict()
    fit(tmp_path, make, others, lambda: loader(2), max_steps=0, profiler="simple")
    (before,), (after,) = state.seen, again.seen
    assert before.pop("optimizer") != after.pop("optimizer")  # its lr
    assert before == after
    assert stopping.state_dict() == patience


def test_a_module_that_stops_the_trainer_in_it_does_not_stop_the_training(tmp_path):
    class Stopping(Classifier):
        def training_step(self, batch, index):
            self.trainer.should_stop = self.seen > 16 * 30
            return super().training_step(batch, index)

    ours = finder()
    _, _, trace = fit(tmp_path, Stopping, [ours])
    assert len(ours.curve) > 40
    assert len(trace["lrs"]) == STEPS


def test_a_module_may_look_at_its_trainer_and_at_what_it_has_logged(tmp_path):
    looks = []

    class Looking(Classifier):
        def training_step(self, batch, index):
            trainer, logger = self.trainer, self.logger
            saving, stopping = trainer.checkpoint_callback, trainer.early_stopping_callback
            kinds = isinstance(logger, CSVLogger), isinstance(saving, ModelCheckpoint)
            where = trainer.log_dir, logger.log_dir, logger.name, logger.version, saving.dirpath
            looks.append((kinds, saving.monitor, stopping.patience, where))
            logger.experiment.log_metrics({"looked": 1.0})
            self.log("plain", 2.0 * index)
            return super().training_step(batch, index)

        def on_train_batch_end(self, outputs, batch, index):
            metrics = self.trainer.callback_metrics
            assert metrics["plain"] == self.trainer.logged_metrics["plain"] == 2.0 * index
            assert metrics["loss"] == outputs["loss"]

    callbacks = [EarlyStopping("accuracy", patience=7), ModelCheckpoint(monitor="accuracy")]
    options = {"max_steps": 3, "enable_checkpointing": True}
    fit(tmp_path, Looking, [*callbacks, finder()], lambda: loader(2), **options)
    # Those of the rehearsal are those of the training.
    assert len(looks) > 43
    assert all(look == looks[-1] for look in looks)
    assert looks[-1][:3] == ((True, True), "accuracy", 7)


@pytest.mark.parametrize("how", ["raise", "sigint"])
def test_an_interrupted_test_leaves_everything_as_before(how, tmp_path):
    class Failing(Classifier):
        def training_step(self, batch, index):
            if self.seen == 16 * 20:
                if how == "sigint":
                    os.kill(os.getpid(), signal.SIGINT)
                raise ZeroDivisionError
            return super().training_step(batch, index)

    state = State()
    handler = signal.getsignal(signal.SIGINT)
    try:
        # Lightning leaves the process after Ctrl-C.
        with pytest.raises(SystemExit if how == "sigint" else ZeroDivisionError):
            fit(tmp_path, Failing, [state, finder()], lambda: loader(2))
    finally:
        signal.signal(signal.SIGINT, handler)
    before, after = state.seen
    # Lightning itself marks the trainer as interrupted.
    assert before == after


NONE = pytest.mark.filterwarnings("ignore:.training_step. returned .None")


@NONE
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_batch_without_a_loss_is_skipped_and_the_next_has_its_lr(accumulate, tmp_path):
    lrs = []

    class Skipping(Classifier):
        batches = 0

        def training_step(self, batch, index):
            self.batches += 1
            odd = (self.batches - 1) // accumulate in (0, 5, 6, 30)
            lrs.append(None if odd else self.optimizers().param_groups[0]["lr"])
            return None if odd else super().training_step(batch, index)

        def on_before_optimizer_step(self, optimizer):
            """Without a loss there are no gradients to log."""

    ours = finder(num_steps=40, stop_factor=None)
    fit(tmp_path, Skipping, [ours], max_steps=1, accumulate_grad_batches=accumulate)
    assert len(ours.curve) == 40
    used = [lr for lr in lrs[: 44 * accumulate] if lr is not None]
    assert used[::accumulate] == ours.curve.lr.tolist()
    note = f"None) for {4 * accumulate} batches, which are not in the curve."
    assert any(note in text for text in ours.curve.notes)


@NONE
@pytest.mark.filterwarnings("ignore:No learning rate")
def test_a_training_step_that_gives_no_loss_any_more_ends_it(tmp_path):
    class Skipping(Classifier):
        tried = 0

        def training_step(self, batch, index):
            self.tried += 1
            return None if self.tried > 30 else super().training_step(batch, index)

        def on_before_optimizer_step(self, optimizer):
            """Without a loss there are no gradients to log."""

    ours = finder()
    with pytest.warns(UserWarning, match="none in the last 100 updates.* must return the loss"):
        fit(tmp_path, Skipping, [ours], max_steps=1)
    assert len(ours.curve) == 30
    assert ours.curve.stop_reason == "training_step gave no loss"


def test_the_steps_of_the_trainer_are_counted_in_it_as_in_a_fit(tmp_path):
    steps = []

    class Counting(Classifier):
        def training_step(self, batch, index):
            steps.append((self.global_step, self.trainer.global_step))
            return super().training_step(batch, index)

    ours = finder(num_steps=40, stop_factor=None)
    fit(tmp_path, Counting, [ours], max_epochs=1)
    assert steps[:40] == [(step, step) for step in range(40)]
    assert steps[-BATCHES:] == [(step, step) for step in range(BATCHES)]
