"""LearningRateFinder in a real Trainer: where the lr goes, when it stays, and what is refused."""

import re
import runpy
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("lightning", reason="needs lightning, of the integrations extra")

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

import lrsched
from lrsched_torch.lightning import LearningRateFinder
from lrsched_torch.lightning.dry_run import find_lightning
from tests.lrsched_torch.integrations.lightning_training import (
    STEPS,
    Classifier,
    State,
    finder,
    fit,
    loader,
    one_cycle,
)


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


@pytest.mark.parametrize(
    ("make", "attr", "read"),
    [
        (Undotted, "lr", [lambda m: m.hparams.lr]),
        (Dotted, "optim.lr", [lambda m: m.hparams.optim["lr"]]),
        (Both, "lr", [lambda m: m.hparams.lr, lambda m: m.lr]),
    ],
)
def test_the_lr_goes_where_the_user_says(make, attr, read, tmp_path):
    ours = finder(attr=attr)
    module, _, trace = fit(tmp_path, make, [ours])
    found = ours.suggestion.lr
    assert [look(module) for look in read] == [found] * len(read)
    assert trace["lrs"] == list(lrsched.one_cycle(found, STEPS).values())
    assert "had momentum 0.9, that of the optimizer itself, where" in ours.curve.notes[0]


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


def test_beside_a_scheduler_there_is_a_curve_and_nothing_is_set(tmp_path):
    ours = finder(attr=None)
    with pytest.warns(UserWarning, match="the range test leaves it to it .attr= names"):
        module, _, trace = fit(tmp_path / "ours", callbacks=[ours])
    assert len(ours.curve) > 40
    assert module.lr == 0.01
    assert trace == fit(tmp_path / "without")[2]


def test_five_steps_draw_a_curve_of_which_the_suggestion_says_what_it_lacks(tmp_path):
    ours = finder(num_steps=5)
    with pytest.warns(UserWarning, match="only 5 finite losses of the 10 that it takes"):
        fit(tmp_path, callbacks=[ours], max_steps=1)
    assert len(ours.curve) == 5


FLAT = {"start_lr": 1e-9, "end_lr": 1e-8}


@pytest.mark.parametrize("on_doubt", ["warn", "use"])
def test_without_a_lr_the_old_one_stays_and_a_warning_says_so(on_doubt, tmp_path):
    ours = finder(on_doubt=on_doubt, num_steps=40, **FLAT)
    with pytest.warns(UserWarning, match="No learning rate .* left as it was"):
        module, _, _ = fit(tmp_path, callbacks=[ours], max_steps=1)
    assert module.lr == 0.01
    assert ours.suggestion.lr is None


def test_where_there_is_no_lr_a_fallback_is_used(tmp_path):
    ours = finder(on_doubt="use", fallback=0.003, num_steps=40, **FLAT)
    module, _, _ = fit(tmp_path, callbacks=[ours], max_steps=1)
    assert module.lr == ours.suggestion.lr == 0.003
    assert ours.suggestion.method == "fallback"


class Trained(Classifier):
    """Of which any step makes a worse model, and one above an lr of 1 a hopeless one."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def training_step(self, batch, index):
        return (self.weight - batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], lr=self.lr)


def test_who_says_whether_the_module_is_trained_gets_a_guess_where_the_loss_only_rises(tmp_path):
    lrs = {}
    for pretrained in (True, False):
        ours = finder(pretrained=pretrained)
        module, _, _ = fit(tmp_path, Trained, [ours], max_steps=1)
        assert ours.suggestion == ours.curve.suggest(pretrained=pretrained)
        assert ours.suggestion.method == "guess"
        assert module.lr == ours.suggestion.lr
        lrs[pretrained] = module.lr
    assert lrs[False] == pytest.approx(10 * lrs[True])
    ours = finder(pretrained=True, on_doubt="warn")
    with pytest.warns(UserWarning, match="A guess for .* left as it was .on_doubt='use' would"):
        module, _, _ = fit(tmp_path, Trained, [ours], max_steps=1)
    assert module.lr == 0.01


def test_doubt_can_be_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="No learning rate suggested"):
        fit(tmp_path, callbacks=[finder(on_doubt="raise", num_steps=40, **FLAT)])


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
        ({"num_steps": 4}, ValueError, "num_steps must be an int >= 5"),
        ({"start_lr": 1.0, "end_lr": 0.1}, ValueError, "start_lr must be < end_lr"),
        ({"on_doubt": "ask"}, ValueError, "on_doubt must be one of"),
        ({"schedule": "cosine"}, ValueError, "schedule must be one of"),
        ({"groups": "mean"}, ValueError, "groups must be one of"),
        ({"verify": 1}, TypeError, "verify must be a bool"),
        ({"fallback": 0, "on_doubt": "use"}, ValueError, "fallback must be > 0"),
        ({"fallback": 0.1}, ValueError, "fallback must come with on_doubt='use', got .*'warn'"),
        ({"pretrained": "yes"}, TypeError, "pretrained must be a bool"),
        ({"pretrained": 1}, TypeError, "pretrained must be a bool"),
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
