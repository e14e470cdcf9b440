"""Cyclical learning rates in Keras, and what they were, batch by batch.

python examples/keras_cyclical.py                # KERAS_BACKEND=jax or torch work as well
"""

import keras
from sklearn.datasets import load_digits

import lrsched_tf


def main() -> lrsched_tf.CyclicalLR:
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images, labels = digits.data.astype("float32") / 16, digits.target

    hidden = keras.layers.Dense(64, activation="relu")
    model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    # Two epochs up and two down; each cycle is half as high as the one before.
    cyclical = lrsched_tf.CyclicalLR(
        base_lr=1e-4, max_lr=1e-2, step_size_epochs=2, mode="triangular2", momentum=(0.85, 0.95)
    )
    model.fit(images, labels, epochs=8, validation_split=0.2, verbose=2, callbacks=[cyclical])

    lrs, momenta = cyclical.history["learning_rate"], cyclical.history["momentum"]
    print(f"{len(lrs)} updates: lr {lrs.min():.2g} to {lrs.max():.2g}")
    print(f"where the lr was highest, beta_1 was lowest: {momenta[lrs.argmax()]:.2f}")
    return cyclical


if __name__ == "__main__":
    main()
