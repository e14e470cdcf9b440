"""lr_find with a Lightning trainer: a curve without a fit, and nothing else."""

import inspect
import re
import warnings

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("lightning", reason="needs lightning, of the integrations extra")

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lrsched import two_speed_sweep
from lrsched._names import CALLBACK, TUNER
from lrsched_torch.lightning import LearningRateFinder, lr_find
from tests.lrsched_torch.integrations.lightning_training import (
    Classifier,
    Recorder,
    finder,
    fit,
    float16,
    loader,
    logged,
    random_state,
    samples,
)

SWEEP = {"start_lr": 1e-5, "end_lr": 10.0, "num_steps": 80}


def training(folder, callbacks=(), **options):
    lightning.seed_everything(1, verbose=False)
    trainer = lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        logger=CSVLogger(folder),
        log_every_n_steps=1,
        **{"max_epochs": 2, "enable_checkpointing": False, **options},
    )
    return trainer, Classifier()


KINDS = {
    "plain": {},
    "accumulation and clipping": {"accumulate_grad_batches": 5, "gradient_clip_val": 0.5},
    "float16": {"plugins": [float16]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_curve_is_that_of_the_callback_and_the_training_after_it_as_without(kind, tmp_path):
    traces = []
    for name, test_first in (("with", True), ("without", False)):
        recorder, options = Recorder(), dict(KINDS[kind])
        options["plugins"] = [plugin() for plugin in options.get("plugins", [])]
        trainer, module = training(tmp_path / name, [recorder], **options)
        batches = loader(3)
        if test_first:
            curve = lr_find(trainer, module, batches, **SWEEP)
            assert not any("could not" in note for note in curve.notes)
            assert trainer.global_step == 0
            assert recorder.hooks == []
        trainer.fit(module, batches, loader(shuffle=False))
        weights = {name: value.tolist() for name, value in module.state_dict().items()}
        order = batches.generator.get_state().tolist()
        counted = module.losses, module.seen, trainer.global_step
        traces.append((weights, recorder.lrs, order, counted, random_state()))
        traces[-1] += (logged(trainer.logger),)
    assert traces[0] == traces[1]
    ours = finder()
    fit(tmp_path / "callback", callbacks=[ours], batches=lambda: loader(3), **KINDS[kind])
    # The sanity check of this fit draws nothing before it.
    assert curve.loss.tolist() == ours.curve.loss.tolist()


class FineTuned(Classifier):
    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


@pytest.mark.parametrize(("lr", "knee"), [(2e-5, 2e-5 / 10), (0.01, 10**-3.5)])
def test_the_knee_of_the_sweep_is_where_the_lr_of_the_optimizer_says(lr, knee, tmp_path):
    plan = {"num_steps": 60, "stop_factor": None}
    trainer, _ = training(tmp_path)
    curve = lr_find(trainer, FineTuned(lr), loader(3), **plan)
    ours = LearningRateFinder(**plan, on_doubt="use")
    fit(tmp_path, lambda: FineTuned(lr), [ours], max_steps=1)
    expected = two_speed_sweep(1e-7, 10.0, 60, knee=knee).values().tolist()
    assert curve.lr.tolist() == ours.curve.lr.tolist() == expected


class Data(lightning.LightningDataModule):
    def train_dataloader(self):
        return loader(3)


class Loading(Classifier):
    def train_dataloader(self):
        return loader(3)


def test_the_batches_come_from_wherever_a_fit_takes_them(tmp_path):
    curves = []
    for make, given, named in (
        (Classifier, (loader(3),), {}),
        (Classifier, (), {"datamodule": Data()}),
        (Classifier, (Data(),), {}),
        (Loading, (), {}),
    ):
        trainer, _ = training(tmp_path)
        lightning.seed_everything(1, verbose=False)
        curves.append(lr_find(trainer, make(), *given, **named, **SWEEP).loss.tolist())
    assert curves == [curves[0]] * 4


def everything(trainer, module):
    parts = [trainer.fit_loop, trainer.strategy, trainer._data_connector, trainer.state, module]
    attributes = [
        {name: id(value) for name, value in vars(part).items()} for part in (trainer, *parts)
    ]
    tensors = [(id(t), t.tolist()) for t in (*module.parameters(), *module.buffers())]
    return attributes, tensors, random_state(), [part.training for part in module.modules()]


def test_nothing_is_left_of_it(tmp_path):
    saving, stopping = ModelCheckpoint(tmp_path / "saved"), EarlyStopping("val_loss")
    trainer, module = training(tmp_path, [saving, stopping], enable_checkpointing=True)
    data = Data()
    before, of_data, callbacks = everything(trainer, module), dict(vars(data)), trainer.callbacks[:]
    lr_find(trainer, module, datamodule=data, **SWEEP)
    assert everything(trainer, module) == before
    assert vars(data) == of_data
    assert trainer.callbacks == callbacks
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_leaves_nothing_either(tmp_path):
    class Failing(Classifier):
        def training_step(self, batch, index):
            if self.seen == 16 * 20:
                raise ZeroDivisionError
            return super().training_step(batch, index)

    class Hearing(Callback):
        def on_exception(self, trainer, module, error):
            raise AssertionError

    trainer, _ = training(tmp_path, [Hearing()])
    module = Failing()
    before = everything(trainer, module)
    with pytest.raises(ZeroDivisionError):
        lr_find(trainer, module, loader(3), **SWEEP)
    assert everything(trainer, module) == before
    assert module.seen == 0


@pytest.mark.parametrize("options", [{"overfit_batches": 1}, {"limit_train_batches": 1}])
def test_a_single_batch_is_noted(options, tmp_path):
    trainer, module = training(tmp_path, **options)
    curve = lr_find(trainer, module, loader(3), **SWEEP)
    assert any("data of a single update" in note for note in curve.notes)


def test_it_says_nothing_of_validation(tmp_path):
    trainer, module = training(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lr_find(trainer, module, loader(3), **SWEEP)
    assert not [str(w.message) for w in caught if "val_dataloader" in str(w.message)]


class Manual(Classifier):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        ({"trainer": Classifier()}, {}, TypeError, "trainer must be a Trainer"),
        ({"module": torch.nn.Linear(1, 1)}, {}, TypeError, "module must be a LightningModule"),
        ({"train_dataloaders": samples()}, {}, TypeError, "give it to a DataLoader"),
        ({"datamodule": Data()}, {}, ValueError, "train_dataloaders must be None where datamodule"),
        ({}, {"fast_dev_run": 3}, ValueError, r"fast_dev_run=3 \(leave it out\)"),
        ({}, {"strategy": "ddp_spawn", "devices": 2}, ValueError, "use one like 'ddp', or the"),
        ({}, {"limit_train_batches": 0}, ValueError, "must give batches, got none"),
        ({"num_steps": 4}, {}, ValueError, "num_steps must be an int >= 5"),
        ({"module": Manual()}, {}, ValueError, "got manual optimization"),
    ],
)
def test_bad_arguments_are_errors(given, options, error, message, tmp_path):
    trainer, module = training(tmp_path, **options)
    arguments = {"trainer": trainer, "module": module, "train_dataloaders": loader(3), **given}
    with pytest.raises(error, match=message):
        lr_find(**arguments)


@pytest.mark.parametrize(("function", "names"), [(lr_find, TUNER), (LearningRateFinder, CALLBACK)])
def test_an_argument_of_lightnings_own_is_told_its_name_here(function, names):
    options = inspect.signature(function).parameters
    assert "num_steps" in options
    for name in names:
        assert name not in options
        with pytest.raises(TypeError, match=rf"{function.__name__} has no argument '{name}' .here"):
            function(**{name: 1})


def test_an_attribute_of_lightnings_own_is_told_its_name_here():
    with pytest.raises(AttributeError, match=r"no attribute 'optimal_lr' \(here: suggestion\)"):
        finder().optimal_lr  # noqa: B018


def test_the_snippet_of_the_docs_runs(repo, tmp_path):
    page = (repo / "docs" / "range_test.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (snippet,) = [text for text in snippets if "lightning import lr_find" in text]
    trainer, module = training(tmp_path)
    names = {"trainer": trainer, "module": module, "loader": loader(3)}
    exec(snippet, names)
    assert len(names["curve"]) > 100
