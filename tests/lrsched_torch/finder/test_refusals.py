"""What a range test refuses, before it has changed anything."""

import inspect
from collections import OrderedDict
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import TensorDataset

import lrsched
from lrsched._names import FINDER
from lrsched_torch import OneCycleLR, ScheduleLR, lr_find, range_test, steps_for
from tests.lrsched_torch.helpers import MSE, Net, Run, data, find, sgd

X, Y = torch.ones(8, 4), torch.zeros(8).long()
LIST = r"pass stateful=\[...\]"

OPTIONS = [
    ({"start_lr": 1.0, "end_lr": 0.1}, ValueError, "start_lr must be < end_lr"),
    ({"end_lr": 1e-6}, ValueError, "start_lr must be < end_lr"),
    ({"num_steps": 4}, ValueError, "num_steps must be an int >= 5"),
    ({"accumulate": 0}, ValueError, "accumulate must be an int >= 1"),
    ({"clip_norm": 0}, ValueError, "clip_norm must be > 0, got 0 .None leaves"),
    ({"clip_norm": "1"}, TypeError, "clip_norm must be a finite number > 0, got '1'"),
    ({"repeats": 0}, ValueError, "repeats must be an int >= 1"),
    ({"groups": "same"}, ValueError, "groups must be one of"),
    ({"amp": torch.float64}, ValueError, "amp must be torch.bfloat16"),
    ({"verify": 1}, TypeError, "verify must be a bool"),
    ({"progress": 1}, TypeError, "progress must be a bool"),
    ({"device": "cuda"}, ValueError, "device must be that of the model, cpu, got cuda"),
    ({"device": "foo"}, ValueError, "device must be a device such as 'cpu' .* got 'foo'"),
    ({"snapshot_device": "foo"}, ValueError, "snapshot_device must be a device such as .* got"),
    ({"snapshot_device": 1.5}, TypeError, "snapshot_device must be a device such as .* got 1"),
    ({"snapshot_device": "cuda:99"}, ValueError, "snapshot_device must be .* this machine, got"),
    ({"snapshot_device": "meta"}, ValueError, "must be one that keeps values, got 'meta'"),
    ({"stateful": AveragedModel(Net())}, TypeError, f"got AveragedModel .{LIST}"),
    ({"stateful": nn.Sequential(Net())}, TypeError, f"got Sequential .{LIST}"),
    ({"stateful": [object()]}, TypeError, "stateful must hold .* got object"),
    ({"val_loader": 3}, TypeError, "val_loader must be an iterable of batches, got 3"),
    ({"val_loader": []}, ValueError, "val_loader must give batches, got none"),
    ({"val_loader": iter(data())}, TypeError, "val_loader must be an iterable .* again and again"),
]


@pytest.mark.parametrize(("change", "error", "message"), OPTIONS)
def test_bad_options_change_nothing(change, error, message):
    run = Run()
    before = run.everything()
    with pytest.raises(error, match=message):
        run.find(**change)
    assert run.everything() == before


LOADERS = [
    ([], ValueError, "loader must give batches, got none"),
    (TensorDataset(X, Y), TypeError, r"loader must be .* got <.*TensorDataset.* DataLoader\)"),
    ([X], TypeError, "must hold inputs and a target.* got Tensor"),
    ([(X,)], TypeError, "got a tuple of 1"),
    ([{"x": X}], TypeError, r"got a dict of \['x'\]"),
    (
        [{"x": X, "y": Y, "label": Y}],
        TypeError,
        r"one target, got 'label' and 'y' in a dict .*loss=.* criterion\(outputs, batch\['label'\]",
    ),
    (
        [SimpleNamespace(x=X, y=Y, target=Y)],
        TypeError,
        r"one target, got 'target' and 'y' in .*criterion\(outputs, batch.target\)",
    ),
    ([(0, (X, Y))], TypeError, r"the inputs of a batch are int, .* pass forward=lambda"),
    (
        [(X, Y, 3)],
        TypeError,
        "takes 2 positional .* is a tuple of 3, .* with 2 of its entries; pass forward=",
    ),
]


@pytest.mark.parametrize(("loader", "error", "message"), LOADERS)
def test_bad_batches_change_nothing(loader, error, message):
    run = Run()
    before = run.everything()
    kept, run.loader = run.loader, loader
    with pytest.raises(error, match=message):
        run.find()
    run.loader = kept
    assert run.everything() == before


LOSSES = [
    (
        nn.CrossEntropyLoss(reduction="none"),
        TypeError,
        r"got shape \(8,\) \(reduce it, for example",
    ),
    (lambda outputs, y: 3.0, TypeError, r"with one element, got 3\.0"),
    (lambda outputs, y: (outputs.sum(), 1), TypeError, r"with one element, got \("),
    (lambda outputs, y: outputs.detach().sum(), ValueError, "loss must depend on parameters"),
    (torch.no_grad()(nn.CrossEntropyLoss()), ValueError, r"or computed under torch.no_grad\(\)\?"),
    (nn.CrossEntropyLoss, TypeError, r"the class CrossEntropyLoss \(make one of it: Cross.*\(\)"),
    (3, TypeError, "criterion must be a function or None, got 3"),
]


@pytest.mark.parametrize(("criterion", "error", "message"), LOSSES)
def test_bad_losses_change_nothing(criterion, error, message):
    run = Run()
    run.criterion = criterion
    before = run.everything()
    with pytest.raises(error, match=message):
        run.find()
    assert run.everything() == before


@pytest.mark.parametrize(
    ("loss", "message"), [(3.0, r"got 3\.0"), (torch.ones(2), r"got shape \(2,\)")]
)
def test_a_validation_loss_is_one_number_too(loss, message):
    run = Run()
    real = run.criterion
    run.criterion = lambda *pair: real(*pair) if torch.is_grad_enabled() else loss
    with pytest.raises(TypeError, match=f"loss must be a tensor with one element, {message}"):
        run.find(val_loader=list(run.loader)[:1])


def test_a_model_without_a_loss_of_its_own_is_named():
    class Logits(nn.Linear):
        def forward(self, input):
            return {"logits": super().forward(input)}

    with pytest.raises(TypeError, match=r"criterion must be given, .* got outputs a dict of"):
        find(Logits(4, 1), criterion=None, loader=[{"input": X}])
    with pytest.raises(TypeError, match=r"takes 2 positional .*; pass forward="):
        find(nn.Linear(4, 1), criterion=None, loader=[(X, Y)])


class Giving(nn.Module):
    """Gives its scores in something."""

    def __init__(self, wrap):
        super().__init__()
        self.layer, self.wrap = nn.Linear(4, 2), wrap

    def forward(self, x):
        return self.wrap(self.layer(x))


class Output(OrderedDict):
    """As the outputs of models of Transformers are."""


OUTPUTS = {
    "a tuple of 2": (lambda scores: (scores, 1), r"\[0\]"),
    r"a Output of \['logits', 'loss'\]": (
        lambda scores: Output(loss=None, logits=scores),
        r"\['logits'\]",
    ),
    "SimpleNamespace": (lambda scores: SimpleNamespace(scores=scores), r"\.scores"),
}


@pytest.mark.parametrize("what", OUTPUTS)
@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(), nn.MSELoss()])
@pytest.mark.parametrize("batch", [(X, Y), {"x": X, "y": Y}])
def test_outputs_that_are_no_tensor_get_the_remedy(what, criterion, batch):
    wrap, place = OUTPUTS[what]
    message = rf"criterion must take .*, got {what} \(pass forward=.*model\(...\){place}, for"
    with pytest.raises(TypeError, match=message):
        find(Giving(wrap), criterion=criterion, loader=[batch])


def test_an_error_of_the_criterion_itself_is_left_alone():
    def failing(outputs, target):
        raise TypeError("of its own")

    with pytest.raises(TypeError, match=r"^of its own$"):
        find(nn.Linear(4, 2), criterion=failing, loader=[(X, Y)])


def test_without_gradients_and_without_parameters_the_message_says_so():
    with torch.no_grad(), pytest.raises(ValueError, match=r"outside of torch.no_grad\(\)"):
        find(nn.Linear(4, 1))
    with pytest.raises(ValueError, match=r"model.requires_grad_\(\)"):
        find(nn.Linear(4, 1).requires_grad_(False))
    with pytest.raises(ValueError, match="model must have parameters to train, got ReLU"):
        lr_find(nn.ReLU(), sgd(nn.Linear(4, 1)), MSE, data())


def test_a_nan_from_the_start_is_not_blamed_on_the_learning_rate():
    curve = find(nn.Linear(4, 1), loader=[(X * torch.nan, torch.ones(8, 1))])
    assert len(curve) == 1
    assert "the first loss is NaN or infinite already" in str(curve.suggest())


def test_a_single_batch_is_noted():
    (note,) = find(nn.Linear(4, 1), loader=data()[:1]).notes
    assert "a single update, on which every step has trained" in note


NO_OPTIMIZERS = {
    "StepLR .pass the optimizer that it holds": lambda o, m: torch.optim.lr_scheduler.StepLR(o, 1),
    r"the model Linear .make one for it: torch.optim.SGD\(": lambda o, m: m,
    r"the class SGD .make one of it: SGD\(model.parameters": lambda o, m: torch.optim.SGD,
    "<generator": lambda o, m: m.parameters(),
}


@pytest.mark.parametrize("message", NO_OPTIMIZERS)
def test_what_is_no_optimizer_is_told_where_to_have_one(message):
    model = nn.Linear(4, 1)
    given = NO_OPTIMIZERS[message](sgd(model), model)
    for use in (
        lambda: lr_find(model, given, MSE, data()),
        lambda: range_test(model, given),
        lambda: ScheduleLR(given, lrsched.constant(0.1)),
        lambda: OneCycleLR(given, 0.1, total_steps=10),
    ):
        with pytest.raises(TypeError, match=rf"optimizer must be a torch Optimizer, got {message}"):
            use()
    with pytest.raises(TypeError, match=r"model must be a Module, got SGD .model comes first"):
        lr_find(sgd(model), model, MSE, data())


@pytest.mark.parametrize("name", ["min_lr", "num_iter", "train_loader", "smooth_f", "diverge_th"])
def test_an_argument_of_another_finder_is_told_its_name_here(name):
    model = nn.Linear(4, 1)
    with pytest.raises(TypeError, match=rf"lr_find has no argument '{name}' .here: {FINDER[name]}"):
        find(model, **{name: 1})
    options = inspect.signature(lr_find).parameters
    assert options.keys().isdisjoint(FINDER)
    assert {ours.partition("=")[0] for ours in FINDER.values() if " " not in ours} <= set(options)


def test_long_objects_are_not_printed_whole():
    long = [list(range(1000))] * 1000
    run = Run()
    scheduler = ScheduleLR(sgd(run.model), lrsched.constant(0.1))
    model = nn.Linear(4, 1)
    for use in (
        lambda: run.find(device=long),
        lambda: run.find(amp=long),
        lambda: run.find(snapshot_device=long),
        lambda: find(model, criterion=long),
        lambda: find(model, criterion=lambda outputs, target: long),
        lambda: find(model, loader=Samples(long)),
        lambda: ScheduleLR(sgd(model), long),
        lambda: ScheduleLR(sgd(model), {"all": long}),
        lambda: scheduler.load_state_dict(long),
        lambda: steps_for(1, WithoutLength(long)),
        lambda: lrsched.RangeTest().record(long),
        lambda: range_test(long, sgd(model)),
        lambda: range_test(model, long),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            use()
        assert len(str(caught.value)) < 500


class Samples(list, torch.utils.data.Dataset):
    """A data set with a long repr."""

    __iter__ = None


class WithoutLength(list):
    def __len__(self):
        raise TypeError


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.AdamW])
def test_a_suggestion_is_no_lr_of_an_optimizer(make):
    model = nn.Linear(4, 1)
    suggestion = find(model, num_steps=40).suggest(fallback=0.1)
    with pytest.raises(TypeError, match=r"got a Suggestion \(pass its lr, "):
        make(model.parameters(), lr=suggestion)


def test_a_data_set_is_no_loader_in_a_loop_of_ones_own_either():
    run = Run()
    with (
        pytest.raises(TypeError, match=r"loader must be .*give it to a DataLoader"),
        range_test(run.model, run.optimizer) as test,
    ):
        next(test.batches(TensorDataset(X, Y)))


def test_a_criterion_beside_a_loss_is_refused():
    with pytest.raises(TypeError, match="criterion must be None where loss is given"):
        find(nn.Linear(4, 1), loss=MSE)


def test_inputs_in_a_tuple_get_the_remedy():
    class Sum(nn.Linear):
        def forward(self, a, b):
            return super().forward(a + b)

    pairs = [((x, x), y) for x, y in data()]
    with pytest.raises(TypeError, match=r"a tuple of 2.*forward=lambda model, batch"):
        find(Sum(4, 1), loader=pairs)
    find(Sum(4, 1), loader=pairs, forward=lambda model, batch: model(*batch[0]))


def without_a_lr(model):
    optimizer = sgd(model)
    optimizer.param_groups[0]["lr"] = None
    return optimizer


OPTIMIZERS = [
    (lambda model: sgd(Net()), ValueError, "optimizer must hold parameters of model"),
    (without_a_lr, ValueError, "a lr in each group, got None in group 0"),
    (
        lambda model: torch.optim.LBFGS(model.parameters()),
        TypeError,
        r"without a closure, got LBFGS \(use range_test",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), OPTIMIZERS)
def test_optimizers_that_cannot_be_tested_are_refused(make, error, message):
    model = nn.Linear(4, 1)
    with pytest.raises(error, match=message):
        find(model, make(model))


BY_BLOCK = {
    "snapshot_device": "foo",
    "stateful": Net(),
    "accumulate": 0,
    "verify": 1,
    "groups": "same",
    "num_steps": 4,
}


@pytest.mark.parametrize(("name", "value"), BY_BLOCK.items())
def test_a_loop_of_ones_own_refuses_the_same(name, value):
    run = Run()
    with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
        range_test(run.model, run.optimizer, **{name: value})


@pytest.mark.parametrize("loss", ["text", torch.ones(2), None, 1j])
def test_only_a_number_can_be_recorded(loss):
    run = Run()
    with range_test(run.model, run.optimizer) as test:
        next(test.batches(run.loader))
        with pytest.raises(TypeError, match="loss must be"):
            test.record(loss)
