"""Range tests in Keras that compare two optimizers, and a training that does not notice them.

The model is trained with and without the tests before its second epoch, and ends with the same
numbers.

python examples/keras_range_test.py              # KERAS_BACKEND=jax or torch work as well
"""

import keras
import numpy as np

import lrsched
import lrsched_tf

BATCH_SIZE = 32


def compiled(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer, loss="mse")
    return model


def train(find: bool) -> tuple[list[float], lrsched.Comparison | None]:
    """Losses of three epochs, and what the range tests before the second one found."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(480, 8)).astype("float32")
    y = np.maximum(x, 0).sum(1, keepdims=True)
    models = {
        "SGD": compiled(keras.optimizers.SGD(0.01, momentum=0.9)),
        "Adam": compiled(keras.optimizers.Adam(1e-3)),
    }
    fit = {"x": x, "y": y, "batch_size": BATCH_SIZE}
    losses = models["Adam"].fit(**fit, verbose=0).history["loss"]
    found = None
    if find:
        curves = [lrsched_tf.lr_find(model, **fit, num_steps=200) for model in models.values()]
        found = lrsched.compare(curves, labels=[*models])
    losses += models["Adam"].fit(**fit, epochs=2, verbose=0).history["loss"]
    return losses, found


def main() -> bool:
    losses, found = train(find=True)
    print(found)
    same = losses == train(find=False)[0]
    print(f"three epochs, with and without the range tests: {same and 'the same'}")
    return same


if __name__ == "__main__":
    main()
