"""A small classifier, its data, and its state to the last bit."""

import keras
import numpy as np

FIND = {"num_steps": 40, "start_lr": 1e-5, "end_lr": 1.0, "batch_size": 8}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "adamw": lambda: keras.optimizers.AdamW(1e-3),
    "accumulating adam": lambda: keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(1e-3)),
}


def data():
    generator = np.random.default_rng(5)
    x = generator.normal(size=(70, 4)).astype("float32")
    return x, (x.sum(1) > 0).astype("int32") + (x[:, 0] > 1).astype("int32")


def compiled(optimizer="sgd", **options):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(16, activation="relu", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[optimizer](), loss, metrics=["accuracy"], **options)
    return model


def everything(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v)).tobytes() for v in variables]
