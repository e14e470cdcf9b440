"""A linear model with a train_step of its own, as the guides of Keras write it for each backend."""

import keras
from keras import ops


class Own(keras.Model):
    """Mean squared error, tracked by a metric of its own, and some Python state."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.tracker = keras.metrics.Mean(name="loss")
        self.traced, self.notes = 0, {"steps": []}

    def call(self, x):
        return self.dense(x)

    @property
    def metrics(self):
        return [self.tracker]

    def remember(self):
        self.traced += 1
        self.notes["steps"].append(self.traced)

    def _train_step_tensorflow(self, data):
        import tensorflow

        self.remember()
        x, y = data
        with tensorflow.GradientTape() as tape:
            loss = ops.mean(ops.square(self(x) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}

    def _train_step_torch(self, data):
        import torch

        self.remember()
        x, y = data
        self.zero_grad()
        loss = ops.mean(ops.square(self(x) - y))
        loss.backward()
        with torch.no_grad():
            gradients = [v.value.grad for v in self.trainable_variables]
            self.optimizer.apply(gradients, self.trainable_variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}

    def _train_step_jax(self, state, data):
        import jax

        self.remember()
        trainable, fixed, optimizer, metrics = state
        x, y = data

        def measure(trainable, fixed):
            outputs, fixed = self.stateless_call(trainable, fixed, x)
            return ops.mean(ops.square(outputs - y)), fixed

        (loss, fixed), gradients = jax.value_and_grad(measure, has_aux=True)(trainable, fixed)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        metrics = self.tracker.stateless_update_state(metrics, loss)
        return {"loss": self.tracker.stateless_result(metrics)}, (
            trainable,
            fixed,
            optimizer,
            metrics,
        )

    train_step = locals()[f"_train_step_{keras.backend.backend()}"]


class Wrapping(keras.Sequential):
    """Keeps what it likes around the step of Keras; no metric of its own."""

    def train_step(self, *arguments):
        self.calls = getattr(self, "calls", 0) + 1
        return super().train_step(*arguments)
