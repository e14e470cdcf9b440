"""A policy in Keras: lr, momentum and weight decay, and a cooldown when the model is good enough.

python examples/keras_policy.py                  # KERAS_BACKEND=jax or torch work as well
"""

import keras
from sklearn.datasets import load_digits

import lrsched
import lrsched_tf

EPOCHS, COOLDOWN, ENOUGH = 30, 100, 0.9


class CoolDown(keras.callbacks.Callback):
    """Ends the training by a cooldown, once an accuracy is reached."""

    def __init__(self, schedules):
        super().__init__()
        self.schedules, self.has_begun = schedules, False

    def on_epoch_end(self, epoch, logs=None):
        if not self.has_begun and logs["val_accuracy"] > ENOUGH:
            self.schedules.cooldown(COOLDOWN)
            self.has_begun = True

    def on_train_batch_end(self, batch, logs=None):
        if self.has_begun and self.model.optimizer.iterations >= self.schedules.policy.total_steps:
            self.model.stop_training = True


def main() -> lrsched_tf.ScheduleCallback:
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images, labels = digits.data.astype("float32") / 16, digits.target

    hidden = keras.layers.Dense(64, activation="relu")
    model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.Dense(10)])
    # The numbers given here are not used, but Keras makes no momentum or decay without them.
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.004),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    # A plateau without an end: how long it will be, nobody has to know.
    policy = lrsched.Policy(
        lr=lrsched.linear(0.0, 0.05, 50).then(lrsched.constant(0.05)),
        momentum=lrsched.linear(0.85, 0.95, 200).then(lrsched.constant(0.95)),
        weight_decay=lrsched.constant(0.01),
    )
    schedules = lrsched_tf.ScheduleCallback(policy)
    callbacks = [schedules, CoolDown(schedules)]
    model.fit(images, labels, epochs=EPOCHS, validation_split=0.2, verbose=2, callbacks=callbacks)
    print(f"{schedules.policy.total_steps} updates, the last with an lr of 0")
    return schedules


if __name__ == "__main__":
    main()
