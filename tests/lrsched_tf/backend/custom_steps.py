"""Training steps of a user: as the guides of Keras write them for each backend, and by hand."""

import keras
from keras import ops

BACKEND = keras.backend.backend()


def plain(function):
    return function


def _measure(self, predicted, y):
    return ops.mean(ops.square(predicted - y))


def _update_on_tensorflow(self, x, y):
    import tensorflow

    with tensorflow.GradientTape() as tape:
        loss = self.measure(self(x), y)
    gradients = tape.gradient(loss, self.trainable_variables)
    self.optimizer.apply(gradients, self.trainable_variables)
    return loss


def _update_on_torch(self, x, y):
    import torch

    self.zero_grad()
    loss = self.measure(self(x), y)
    loss.backward()
    with torch.no_grad():
        gradients = [v.value.grad for v in self.trainable_variables]
        self.optimizer.apply(gradients, self.trainable_variables)
    return loss


def _update_on_jax(self, trainable, fixed, optimizer, x, y):
    import jax

    def loss_of(trainable):
        return self.measure(self.stateless_call(trainable, fixed, x)[0], y)

    loss, gradients = jax.value_and_grad(loss_of)(trainable)
    trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
    return loss, trainable, optimizer


class Own(keras.Sequential):
    """Mean squared error, tracked by a metric of its own, and some Python state."""

    measure, update = _measure, globals()[f"_update_on_{BACKEND}"]

    def __init__(self, layers=None):
        super().__init__(layers)
        self.tracker = keras.metrics.Mean(name="loss")
        self.traced, self.notes = 0, {"steps": []}

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, *arguments):
        self.traced += 1
        self.notes["steps"].append(self.traced)
        return self._step_on_jax(*arguments) if BACKEND == "jax" else self._step(*arguments)

    def _step(self, data):
        self.tracker.update_state(self.update(*data[:2]))
        return {"loss": self.tracker.result()}

    def _step_on_jax(self, state, data):
        trainable, fixed, optimizer, metrics = state
        loss, trainable, optimizer = self.update(trainable, fixed, optimizer, *data[:2])
        metrics = self.tracker.stateless_update_state(metrics, loss)
        logs = {"loss": self.tracker.stateless_result(metrics)}
        return logs, (trainable, fixed, optimizer, metrics)


def compiled_within(measure_by=plain, update_by=plain):
    """Such a class whose step calls functions that the user has compiled by themselves."""
    functions = {"measure": measure_by(Own.measure), "update": update_by(Own.update)}
    return type("CompiledWithin", (Own,), functions)


def gradients_of(model, x, y):
    """Of the mean squared error of a dense layer, by hand: for any backend."""
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    error = (model(x) - y) * (2.0 / (x.shape[0] * 2))
    return [ops.matmul(ops.transpose(x), error), ops.sum(error, axis=0)]


def update(model, x, y, *optimizers):
    """One optimizer for both weights, or one for each of them."""
    if BACKEND == "torch":
        import torch

        with torch.no_grad():
            apply(optimizers, gradients_of(model, x, y), model.trainable_variables)
    else:
        apply(optimizers, gradients_of(model, x, y), model.trainable_variables)


def apply(optimizers, gradients, weights):
    if len(optimizers) == 1:
        optimizers[0].apply(gradients, weights)
        return
    for optimizer, gradient, weight in zip(optimizers, gradients, weights, strict=True):
        optimizer.apply([gradient], [weight])


def compiled_step(model):
    import tensorflow

    return tensorflow.function(lambda x, y: update(model, x, y, model.optimizer))
