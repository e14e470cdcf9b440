"""The PyTorch loop of the experiments: what it trains is what the setting says."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from dataclasses import replace

from lrsched.experiments.dataset import Dataset, on_canvas
from lrsched.experiments.experiment import NothingFoundError
from lrsched.experiments.training import (
    CNN,
    CNN_DROPOUT,
    LENET,
    LOCATOR,
    RESNET,
    Optimizer,
    Setting,
    Variant,
)
from lrsched.schedules import (
    constant,
    exponential_sweep,
    one_cycle,
    one_cycle_momentum,
    two_speed_sweep,
)
from lrsched_torch.experiments.loop import OPTIMIZERS, TorchLoop
from lrsched_torch.experiments.network import Network, ResidualBlock, loss_of
from tests.lrsched.experiments.halves import CNN_PARAMETERS, RESNET_PARAMETERS, halves


@pytest.fixture(scope="module")
def data():
    return halves()


@pytest.fixture(scope="module")
def loop():
    return TorchLoop()


def trained(loop, setting, lr=0.01, seed=0):
    return loop.train(Variant("any", setting, constant(lr)), seed)


@pytest.mark.parametrize("layers", [CNN, CNN_DROPOUT, LENET, RESNET])
def test_every_model_takes_images_of_any_size_and_colour(layers):
    for shape in ((8, 8, 1), (9, 14, 3)):
        x = np.zeros((4, *shape), np.float32)
        data = Dataset("black", 5, x, np.zeros(4, int), x, np.zeros(4, int))
        outputs = Network(Setting(data, layers, batch_size=2))(torch.from_numpy(x))
        assert {name: tuple(each.shape) for name, each in outputs.items()} == {"label": (4, 5)}


def parameters(data, layers):
    return sum(weight.numel() for weight in Network(Setting(data, layers)).parameters())


def test_models_have_the_parameters_that_their_layers_say(data):
    assert parameters(data, CNN) == CNN_PARAMETERS
    assert parameters(data, RESNET) == RESNET_PARAMETERS


def test_a_residual_block_adds_its_input():
    block = ResidualBlock(4, 4, 1).eval()
    torch.nn.init.zeros_(block.second[1].weight)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(block(x), torch.relu(x))


def test_validating_changes_nothing_in_the_model(loop, data):
    model = Network(Setting(data, CNN_DROPOUT)).to(loop.device)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    first = loop.validate(model, data)
    assert first == loop.validate(model, data)
    assert model.training
    for name, each in model.state_dict().items():
        assert torch.equal(each, before[name]), name


def test_a_schedule_of_momentum_is_followed(loop, data):
    setting = Setting(data, CNN, batch_size=32, epochs=1)
    of = {}
    for momentum in (None, 0.9, 0.0):
        schedule = None if momentum is None else constant(momentum)
        of[momentum] = loop.train(Variant("any", setting, constant(0.01), schedule), 0)
    assert of[None] == of[0.9]
    assert of[0.9] != of[0.0]


def test_a_loss_of_labels_and_boxes_is_their_sum(data):
    made = on_canvas(data)
    outputs = Network(Setting(made, LOCATOR))(torch.from_numpy(made.x_val))
    labels = {"label": torch.from_numpy(made.y_val)}
    boxes = {"box": torch.from_numpy(made.box_val)}
    whole = loss_of(outputs, labels | boxes)
    of_labels = loss_of({"label": outputs["label"]}, labels)
    distance = (outputs["box"] - boxes["box"]).abs().mean()
    assert whole.item() == pytest.approx((of_labels + 5 * distance).item(), rel=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(loop, data, name):
    lr = {"sgd": 0.05, "adagrad": 0.05, "adadelta": 1.0}.get(name, 0.01)
    setting = Setting(data, CNN, Optimizer(name, momentum=0.0), 16, epochs=5)
    training = trained(loop, setting, lr)
    assert training.accuracies[-1] > 0.9
    assert training.losses[-1] < training.losses[0]
    assert training.max_lr == lr


def test_a_seed_fixes_a_training_bit_for_bit(loop, data):
    setting = Setting(data, CNN_DROPOUT, batch_size=32, epochs=2, augment=True)
    first, same, other = (trained(loop, setting, seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first != other


def test_weight_decay_is_that_of_the_setting(loop, data):
    setting = Setting(data, CNN, batch_size=32, epochs=2)
    heavy = replace(setting, optimizer=Optimizer(weight_decay=1.0))
    assert trained(loop, heavy).losses[-1] > trained(loop, setting).losses[-1]


def test_a_pretrained_model_begins_where_the_pretraining_ended(loop, data):
    before = Variant("before", Setting(data, CNN, batch_size=32, epochs=3), constant(0.02))
    fine = Setting(data, CNN, batch_size=32, epochs=1, pretraining=before)
    assert trained(loop, fine, lr=1e-9).losses[0] < trained(loop, before.setting).losses[0]


def test_a_range_test_and_the_cycle_that_follows(loop, data):
    setting = Setting(data, CNN, batch_size=32, epochs=4, sweep_steps=120)
    curve = loop.find(setting, 0)
    assert curve.num_steps == 120
    cycle = one_cycle(curve.suggest().lr, setting.total_steps)
    momentum = one_cycle_momentum(setting.total_steps)
    training = loop.train(Variant("1cycle", setting, cycle, momentum), 0)
    assert training.accuracies[-1] > 0.9
    assert training.max_lr == max(cycle.values())


def test_a_range_test_sweeps_as_the_tables_have_it_unless_the_setting_says_other(loop, data):
    setting = Setting(data, CNN, batch_size=32, sweep_steps=20)
    for sweep, plan in {"exponential": exponential_sweep, "two_speed": two_speed_sweep}.items():
        lr = loop.find(replace(setting, sweep=sweep), 0).lr
        assert lr.tolist() == plan(1e-7, 10, 20).values()[: lr.size].tolist()
    assert setting.sweep == "exponential"


def test_ways_that_find_no_lr_say_so(loop, data):
    """Eight updates are too few for a suggestion."""
    pytest.importorskip("lightning", reason="needs Lightning")
    setting = Setting(data, CNN, batch_size=32, epochs=1, sweep_steps=8)
    for way in loop.ways.values():
        with pytest.raises(NothingFoundError, match="the range test found no learning rate: only"):
            way(setting, 0)


def test_lightning_finds_the_lr_that_the_loop_finds(loop, data):
    pytest.importorskip("lightning", reason="needs Lightning")
    setting = Setting(data, CNN, batch_size=32, epochs=2, sweep_steps=120)
    plain, by_callback = (way(setting, 0) for way in loop.ways.values())
    assert by_callback.max_lr == pytest.approx(plain.max_lr, rel=0.05)
    assert len(by_callback.losses) == len(by_callback.validations) == 2
    assert by_callback.accuracies[-1] > 0.9
