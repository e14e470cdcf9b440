"""The Keras loop of the experiments: what it trains is what the setting says."""

import keras
import numpy as np
import pytest

from lrsched.experiments.dataset import Dataset, on_canvas
from lrsched.experiments.training import CNN, LOCATOR, RESNET, Optimizer, Setting, Variant, validate
from lrsched.schedules import constant, one_cycle, one_cycle_momentum
from lrsched_tf.experiments.loop import KerasLoop
from lrsched_tf.experiments.network import OPTIMIZERS, network, optimizer


@pytest.fixture(scope="module")
def data():
    """Two classes that a bright half tells apart."""
    random = np.random.default_rng(0)
    y = np.arange(160) % 2
    x = random.random((160, 8, 8, 1), dtype=np.float32) / 4
    x[y == 1, :, :4] += 0.7
    return Dataset("halves", 2, x[:128], y[:128], x[128:], y[128:])


@pytest.fixture(scope="module")
def loop():
    return KerasLoop()


def test_models_have_the_parameters_that_their_layers_say(data):
    model = network(Setting(data, CNN))
    convolutions = 16 * 9 + 2 * 16 + 32 * 16 * 9 + 2 * 32
    head = 512 * 2 + 2
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == convolutions + head
    outputs = network(Setting(data, RESNET))(data.x_val)
    assert outputs["label"].shape == (32, 2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_the_one_that_is_named(data, name):
    made = optimizer(Setting(data, CNN, Optimizer(name, momentum=0.9)))
    assert type(made).__name__.lower() == name
    assert getattr(made, "momentum", 0.0) == (0.9 if name == "sgd" else 0.0)
    decayed = optimizer(Setting(data, CNN, Optimizer("sgd", 0.9, weight_decay=0.01)))
    assert decayed.weight_decay == pytest.approx(0.1)


def test_a_range_test_and_the_cycle_that_follows(loop, data):
    setting = Setting(data, CNN, batch_size=32, epochs=4, sweep_steps=120)
    curve = loop.find(setting, 0)
    assert curve.num_steps == 120
    cycle = one_cycle(curve.suggest().lr, setting.total_steps)
    momentum = one_cycle_momentum(setting.total_steps)
    variant = Variant("1cycle", setting, cycle, momentum)
    training = loop.train(variant, 0)
    assert training.accuracies[-1] > 0.75
    assert training.losses[-1] < training.losses[0]
    assert training.max_lr == max(cycle.values())
    assert loop.train(variant, 0) == training


def test_one_call_finds_the_lr_that_two_steps_find(loop, data):
    setting = Setting(data, CNN, batch_size=32, epochs=2, sweep_steps=120)
    plain, by_call = (way(setting, 0) for way in loop.ways.values())
    assert by_call.max_lr == pytest.approx(plain.max_lr, rel=0.05)
    assert len(by_call.losses) == len(by_call.validations) == 2


def test_boxes_are_trained_with_classes_and_pretrained_weights_are_kept(loop, data):
    made = on_canvas(data)
    setting = Setting(made, LOCATOR, batch_size=32, epochs=2)
    before = Variant("before", setting, constant(0.01))
    first = loop.train(before, 0)
    fine = Setting(made, LOCATOR, batch_size=32, epochs=1, pretraining=before)
    assert loop.train(Variant("after", fine, constant(1e-9)), 0).losses[0] < first.losses[0]


def test_the_loss_is_that_of_the_validation(data):
    made = on_canvas(data)
    model = network(Setting(made, LOCATOR))
    outputs = {n: keras.ops.convert_to_numpy(o) for n, o in model(made.x_val).items()}
    targets = {"label": made.y_val, "box": made.box_val}
    loss = model.evaluate(made.x_val, targets, batch_size=32, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(validate(outputs, made)[0], rel=1e-4)
