"""LearningRateFinder in a real Trainer: what it finds and sets, and that nothing else changes."""

import os
import random
import re
import runpy
import signal
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("lightning", reason="needs lightning, of the integrations extra")

import lightning
import torchmetrics
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lrsched
from lrsched_torch import OneCycleLR, lr_find
from lrsched_torch._lightning import find_lightning
from lrsched_torch.lightning import LearningRateFinder

EPOCHS, BATCHES = 2, 12
STEPS = EPOCHS * BATCHES

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


class Classifier(lightning.LightningModule):
    """Something of everything that a training moves: statistics, dropout, a metric, logs."""

    def __init__(self, lr=0.01):
        super().__init__()
        self.lr = lr
        self.seen, self.losses = 0, []
        self.layers = nn.Sequential(
            nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2)
        )
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=2)

    def on_train_epoch_start(self):
        self.scale = 1.0

    def training_step(self, batch, index):
        x, y = batch["a"] if isinstance(batch, dict) else batch
        self.seen += len(x)
        scores = self.layers(x)
        loss = self.scale * nn.functional.cross_entropy(scores, y)
        self.accuracy(scores, y)
        self.log("accuracy", self.accuracy, on_step=False, on_epoch=True, prog_bar=True)
        self.log_dict({"loss": loss.detach()}, on_step=True)
        self.logger.log_metrics({"x": x.sum().item()}, self.global_step)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", nn.functional.cross_entropy(self.layers(batch[0]), batch[1]))

    def on_before_optimizer_step(self, optimizer):
        self.log("norm", next(self.parameters()).grad.norm())

    def configure_optimizers(self):
        return one_cycle(self, self.lr)


class Planned(Classifier):
    """Has its loaders set up before the fit starts, since it asks for their number of batches."""

    def configure_optimizers(self):
        assert self.trainer.estimated_stepping_batches == STEPS
        return super().configure_optimizers()


def one_cycle(module, lr):
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
    scheduler = OneCycleLR(optimizer, max_lr=lr, total_steps=STEPS)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Recorder(Callback):
    """The hooks that the trainer calls, and the lr of every update."""

    def __init__(self):
        self.hooks, self.lrs = [], []

    def on_train_batch_start(self, *arguments):
        self.hooks.append("batch")

    def on_before_backward(self, *arguments):
        self.hooks.append("backward")

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.hooks.append("step")
        self.lrs.append(optimizer.param_groups[0]["lr"])


def samples():
    x = torch.randn(16 * BATCHES, 8, generator=torch.Generator().manual_seed(5))
    return TensorDataset(x, (x.sum(1) + x[:, 0] > 0).long())


def loader(seed=None, **options):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return DataLoader(samples(), 16, **{"shuffle": True, "generator": generator, **options})


class Stream(IterableDataset):
    def __iter__(self):
        return iter([samples()[int(i)] for i in torch.randperm(16 * BATCHES)])


def finder(**options):
    settings = {"start_lr": 1e-5, "end_lr": 10.0, "num_steps": 80, "on_doubt": "use", **options}
    return LearningRateFinder(**settings)


def fit(folder, make=Classifier, callbacks=(), batches=loader, resume_from=None, **options):
    """A training; gives the module, the trainer, and all that is to be seen of it."""
    lightning.seed_everything(1, verbose=False)
    module, recorder, train_loader = make(), Recorder(), batches()
    trainer = lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, recorder],
        logger=CSVLogger(folder),
        log_every_n_steps=1,
        **{"max_epochs": EPOCHS, "enable_checkpointing": False, **options},
    )
    trainer.fit(module, train_loader, loader(shuffle=False), ckpt_path=resume_from)
    trace = {
        "lrs": recorder.lrs,
        "hooks": recorder.hooks,
        "weights": {name: value.tolist() for name, value in module.state_dict().items()},
        "losses": module.losses,
        "seen": module.seen,
        "random": random_state(),
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "steps": trainer.fit_loop.state_dict(),
    }
    if isinstance(train_loader, DataLoader) and train_loader.generator is not None:
        trace["order"] = train_loader.generator.get_state().tolist()
    return module, trainer, trace


def random_state():
    numbers = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    return random.getstate(), numbers


KINDS = {
    "shuffled by the global generator": {},
    "loaders that are set up already": {"make": Planned},
    "shuffled by its own generator": {"batches": lambda: loader(2)},
    "two loaders": {"batches": lambda: {"a": loader(3), "b": loader()}},
    "workers": {"batches": lambda: loader(4, num_workers=1, persistent_workers=True)},
    "a stream without a length": {"batches": lambda: DataLoader(Stream(), 16)},
    "bfloat16": {"precision": "bf16-mixed"},
    "float16 with a GradScaler": {"plugins": [MixedPrecision("16-mixed", "cpu")]},
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
    used = lrsched.one_cycle(module.lr, STEPS).values(len(trace["lrs"]))
    assert trace["lrs"] == list(used)


def test_a_trace_would_be_seen(tmp_path):
    class Careless(Callback):
        def on_fit_start(self, trainer, module):
            torch.rand(1)

    _, _, trace = fit(tmp_path / "plain")
    _, _, other = fit(tmp_path / "careless", callbacks=[Careless()])
    assert trace != other


def test_the_curve_is_that_of_a_plain_loop(tmp_path):
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
    fit(tmp_path, quiet, [ours], lambda: loader(shuffle=False))
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
        forward=lambda module, batch: module.layers(batch[0]),
    )
    assert ours.curve.loss.tolist() == by_hand.loss.tolist()
    assert ours.curve.lr.tolist() == by_hand.lr.tolist()
    assert "read again" in ours.curve.notes[0]


class State(Callback):
    """What there is at two moments, before the finder and after it or at an exception."""

    def __init__(self):
        self.seen = []

    def on_fit_start(self, trainer, module):
        self.look(trainer, module)

    def on_exception(self, trainer, module, error):
        self.look(trainer, module)

    def look(self, trainer, module):
        tensors = [*module.parameters(), *module.buffers()]
        optimizer = trainer.optimizers[0]
        # The name of the present hook, of Lightning's own.
        attributes = {k: id(v) for k, v in vars(module).items() if k != "_current_fx_name"}
        self.seen.append(
            {
                "trainer": {name: id(value) for name, value in vars(trainer).items()},
                "fit loop": {name: id(value) for name, value in vars(trainer.fit_loop).items()},
                "progress": trainer.fit_loop.state_dict(),
                "metrics": dict(trainer.callback_metrics),
                "tensors": [(id(tensor), tensor.tolist()) for tensor in tensors],
                "gradients": [parameter.grad for parameter in module.parameters()],
                "modes": [part.training for part in module.modules()],
                "attributes": attributes,
                "counted": (module.seen, list(module.losses)),
                "optimizer": (len(optimizer.state), repr(optimizer)),
                "random": random_state(),
                "order": trainer.fit_loop._data_source.instance.generator.get_state().tolist(),
            }
        )


def test_the_trainer_and_its_callbacks_are_left_alone(tmp_path):
    state, again, stopping = State(), State(), EarlyStopping("val_loss")
    others = [state, finder(attr=None), again, stopping, LearningRateMonitor()]

    def make():
        module = Classifier()
        module.configure_optimizers = lambda: torch.optim.Adam(module.parameters(), lr=0.01)
        return module

    patience = stopping.state_dict()
    fit(tmp_path, make, others, lambda: loader(2), max_steps=0)
    (before,), (after,) = state.seen, again.seen
    assert before.pop("optimizer") != after.pop("optimizer")  # its lr
    assert before == after
    assert stopping.state_dict() == patience


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


class InHparams(Classifier):
    def __init__(self, lr=0.01, optim=None):
        super().__init__()
        del self.lr
        self.save_hyperparameters({"lr": lr, "optim": optim or {"lr": lr}})


class Dotted(InHparams):
    def configure_optimizers(self):
        return one_cycle(self, self.hparams.optim["lr"])


class Undotted(InHparams):
    def configure_optimizers(self):
        return one_cycle(self, self.hparams.lr)


class Both(InHparams):
    def __init__(self):
        super().__init__()
        self.lr = self.hparams.lr


class Property(InHparams):
    @property
    def lr(self):
        return self.hparams.lr

    @lr.deleter
    def lr(self):
        pass

    @lr.setter
    def lr(self, value):
        assert value == 0.01


@pytest.mark.parametrize(
    ("make", "attr", "read"),
    [
        (Undotted, "lr", [lambda m: m.hparams.lr]),
        (Dotted, "optim.lr", [lambda m: m.hparams.optim["lr"]]),
        (Both, "lr", [lambda m: m.hparams.lr, lambda m: m.lr]),
        (Property, "lr", [lambda m: m.hparams.lr, lambda m: m.lr]),
    ],
)
def test_the_lr_goes_where_the_user_says(make, attr, read, tmp_path):
    ours = finder(attr=attr)
    module, _, trace = fit(tmp_path, make, [ours])
    found = ours.suggestion.lr
    assert [look(module) for look in read] == [found] * len(read)
    assert trace["lrs"] == list(lrsched.one_cycle(found, STEPS).values())


def test_without_an_attribute_the_groups_keep_their_ratios(tmp_path):
    class Groups(Classifier):
        def configure_optimizers(self):
            *body, head = self.layers
            groups = [
                {"params": nn.Sequential(*body).parameters(), "lr": torch.tensor(0.001)},
                {"params": head.parameters(), "lr": 0.01},
            ]
            return torch.optim.Adam(groups)

    ours = finder(attr=None)
    module, trainer, _ = fit(tmp_path, Groups, [ours])
    lrs = [float(group["lr"]) for group in trainer.optimizers[0].param_groups]
    assert lrs == pytest.approx([ours.suggestion.lr / 10, ours.suggestion.lr])
    assert module.lr == 0.01


FLAT = {"start_lr": 1e-9, "end_lr": 1e-8}


def test_in_doubt_the_lr_stays_and_a_warning_says_so(tmp_path):
    ours = LearningRateFinder(num_steps=40, **FLAT)
    with pytest.warns(UserWarning, match="No learning rate .* left as it was"):
        module, _, _ = fit(tmp_path, callbacks=[ours], max_steps=1)
    assert module.lr == 0.01
    assert ours.suggestion.lr is None


def test_no_lr_at_all_is_never_set(tmp_path):
    with pytest.warns(UserWarning, match="No learning rate .* left as it was"):
        module, _, _ = fit(tmp_path, callbacks=[finder(**FLAT)], max_steps=1)
    assert module.lr == 0.01


def test_doubt_can_be_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="No learning rate suggested"):
        fit(tmp_path, callbacks=[finder(on_doubt="raise", **FLAT)])


def test_the_suggestion_is_printed(tmp_path, caplog):
    ours = finder()
    fit(tmp_path, callbacks=[ours], max_steps=1)
    assert str(ours.suggestion) in caplog.text


def test_resuming_and_dry_runs_go_on_without_it(tmp_path):
    saving = ModelCheckpoint(tmp_path, "last")
    fit(tmp_path, callbacks=[saving], enable_checkpointing=True, max_epochs=1)
    ours = finder()
    fit(tmp_path, callbacks=[ours], resume_from=tmp_path / "last.ckpt")
    assert ours.curve is None
    module, _, _ = fit(tmp_path, callbacks=[ours], fast_dev_run=2)
    assert ours.curve is None
    assert len(module.losses) == 2


@pytest.mark.filterwarnings("ignore:.training_step. returned .None")
def test_a_training_step_without_a_loss_ends_it(tmp_path):
    class Skipping(Classifier):
        def training_step(self, batch, index):
            return None if self.seen == 16 * 30 else super().training_step(batch, index)

        def on_before_optimizer_step(self, optimizer):
            """Without a loss there are no gradients to log."""

    ours = finder()
    with pytest.warns(UserWarning, match="left as it was"):
        fit(tmp_path, Skipping, [ours], max_steps=1)
    assert len(ours.curve) == 31
    assert "non-finite" in ours.curve.stop_reason


class Manual(Classifier):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class Other(Classifier):
    def configure_optimizers(self):
        return one_cycle(self, 0.01)


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (Manual, {}, ValueError, "got manual optimization .*lrsched_torch.range_test"),
        (Classifier, {"attr": "learning_rate"}, ValueError, "attr must name an attribute"),
        (Classifier, {"attr": "layers"}, TypeError, "attr must name a number"),
        (Classifier, {"attr": None}, ValueError, "the scheduler would overwrite"),
        (Other, {}, ValueError, "changes nothing in the optimizer"),
    ],
)
def test_what_cannot_work_is_an_error_at_the_start_of_fit(make, options, error, message, tmp_path):
    state = State()
    with pytest.raises(error, match=message):
        fit(tmp_path, make, [state, finder(**options)], lambda: loader(2))
    assert state.seen[0]["counted"] == state.seen[1]["counted"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"attr": 3}, TypeError, "attr must be"),
        ({"num_steps": 5}, ValueError, "num_steps must be an int >= 10"),
        ({"start_lr": 1.0, "end_lr": 0.1}, ValueError, "start_lr must be < end_lr"),
        ({"on_doubt": "ask"}, ValueError, "on_doubt must be one of"),
        ({"schedule": "cosine"}, ValueError, "schedule must be one of"),
        ({"groups": "mean"}, ValueError, "groups must be one of"),
        ({"verify": 1}, TypeError, "verify must be a bool"),
    ],
)
def test_bad_arguments_are_errors_at_construction(options, error, message):
    with pytest.raises(error, match=message):
        LearningRateFinder(**options)


def test_without_lightning_the_error_says_what_to_install(monkeypatch):
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "onecycle-lr\[integrations\]"'):
        find_lightning()


def test_the_example_trains_with_the_lr_that_it_found(repo, capsys):
    main = runpy.run_path(str(repo / "examples" / "torch_lightning_range_test.py"))["main"]
    found, used, loss = main()
    assert found == used
    assert loss < 0.05
    assert "Suggested lr for the peak" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:No learning rate", "ignore:Suggested lr")
def test_the_snippet_of_the_docs_runs(repo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (repo / "docs" / "range_test.md").read_text(encoding="utf-8")
    section = page.split("## In Lightning")[1]
    snippet = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]

    class Plain(Classifier):
        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    names = {"lightning": lightning, "module": Plain(), "loader": loader(num_workers=0)}
    exec(snippet, names)
    assert len(names["finder"].curve) > 100
