"""The Keras loop of the experiments: what it trains is what the setting says."""

import keras
import numpy as np
import pytest

from lrsched.experiments.dataset import on_canvas
from lrsched.experiments.experiment import NothingFoundError
from lrsched.experiments.training import CNN, LOCATOR, RESNET, Optimizer, Setting, Variant, validate
from lrsched.schedules import constant
from lrsched_tf.experiments.loop import KerasLoop
from lrsched_tf.experiments.network import OPTIMIZERS, network, optimizer
from tests.lrsched.experiments.halves import CNN_PARAMETERS, RESNET_PARAMETERS, halves


@pytest.fixture(scope="module")
def data():
    return halves()


@pytest.fixture(scope="module")
def loop():
    return KerasLoop()


def parameters(data, layers):
    """Number of trainable parameters."""
    weights = network(Setting(data, layers)).trainable_weights
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_models_have_the_parameters_that_their_layers_say(data):
    assert parameters(data, CNN) == CNN_PARAMETERS
    assert parameters(data, RESNET) == RESNET_PARAMETERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_the_one_that_is_named(data, name):
    made = optimizer(Setting(data, CNN, Optimizer(name, momentum=0.9)))
    assert type(made).__name__.lower() == name
    assert getattr(made, "momentum", 0.0) == (0.9 if name == "sgd" else 0.0)
    decayed = optimizer(Setting(data, CNN, Optimizer("sgd", 0.9, weight_decay=0.01)))
    assert decayed.weight_decay == pytest.approx(0.1)


def test_one_call_finds_the_lr_that_two_steps_find_and_both_train(loop, data):
    setting = Setting(data, CNN, batch_size=32, epochs=3, sweep_steps=120)
    plain, by_call = (way(setting, 0) for way in loop.ways.values())
    assert by_call.max_lr == pytest.approx(plain.max_lr, rel=0.05)
    for training in (plain, by_call):
        assert len(training.losses) == len(training.validations) == 3
        assert training.losses[-1] < training.losses[0]
        assert training.accuracies[-1] > 0.75


def test_ways_that_find_no_lr_say_so(loop, data):
    """Eight updates are too few for a suggestion."""
    setting = Setting(data, CNN, batch_size=32, epochs=1, sweep_steps=8)
    for way in loop.ways.values():
        with pytest.raises(NothingFoundError, match="the range test found no learning rate: only"):
            way(setting, 0)


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
