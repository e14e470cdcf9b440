"""1cycle in Keras: find the peak learning rate, then train, on scikit-learn's digits.

python examples/keras_one_cycle.py               # KERAS_BACKEND=jax or torch work as well
"""

import keras
from sklearn.datasets import load_digits

import lrsched_tf

EPOCHS = 8


def main() -> float:
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images, labels = digits.data.astype("float32") / 16, digits.target

    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    # No step has the lr given here: the schedule sets it. The momentum is cycled because it is on.
    model.compile(
        keras.optimizers.SGD(learning_rate=0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = lrsched_tf.fit_one_cycle(
        model,
        images[:1500],
        labels[:1500],
        epochs=EPOCHS,
        batch_size=32,
        validation_data=(images[1500:], labels[1500:]),
        verbose=2,
    ).history
    # Nothing is left in the model: the optimizer has the floats that it was made with.
    print(f"momentum afterwards: {model.optimizer.momentum}")
    return history["val_accuracy"][-1]


if __name__ == "__main__":
    main()
