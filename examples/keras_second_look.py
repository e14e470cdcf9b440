"""A second look at a suggestion in Keras: three short trainings around it, then the real one.

All of it is undone like the range test, and costs as many updates again: worth it where the
training is long. `fit_one_cycle` does the same with `range_test={"refine": True}`.

python examples/keras_second_look.py             # KERAS_BACKEND=jax or torch work as well
"""

import keras
from sklearn.datasets import load_digits

import lrsched_tf


def main() -> float:
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
    train, held_out = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
    curve = lrsched_tf.lr_find(
        model, *train, batch_size=32, num_steps=200, refine=True, schedule="one_cycle"
    )
    for probe in curve.probes:
        print(f"probe with peak lr {probe.lr:.3g}: loss at its end {probe.level:.3f}")
    refined = curve.suggest()
    print(curve.suggest(method="plateau"), refined, sep="\n")
    assert refined.lr is not None

    history = model.fit(
        *train,
        batch_size=32,
        epochs=5,
        validation_data=held_out,
        verbose=2,
        callbacks=[lrsched_tf.OneCycle(refined.lr)],
    ).history
    return history["val_accuracy"][-1]


if __name__ == "__main__":
    main()
