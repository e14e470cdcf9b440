"""The lr, momentum and weight decay that SGD used, computed from the weights that it moved."""

import numpy as np


def recovered(weights, gradients, *, decoupled):
    """Return the lr, the momentum and the weight decay of each update, by their names.

    The momentum of the first update, which has nothing to carry on, is NaN.

    Args:
        weights: Before the first update and after each, of shape [steps + 1, weights].
        gradients: Of each update, known apart from the weights, of shape [steps, weights]; more
            than three weights, with gradients that are no multiples of one another.
        decoupled: Whether the decay is that of Keras, `w -= lr * decay * w`, with a velocity of
            `v = momentum * v - lr * gradient`; else that of torch, in the gradient, with
            `v = momentum * v + gradient + decay * w` and `w -= lr * v`.
    """
    weights, gradients = np.asarray(weights, np.float64), np.asarray(gradients, np.float64)
    found = {"lr": [], "momentum": [], "weight_decay": []}
    velocity = None
    for before, after, gradient in zip(weights, weights[1:], gradients, strict=False):
        columns = [gradient, before] if velocity is None else [gradient, before, velocity]
        moved = after - before
        factors, *_ = np.linalg.lstsq(np.stack(columns, axis=1), moved)
        lr, lr_times_decay = -factors[:2]
        carried = np.nan if velocity is None else factors[2]
        found["lr"].append(lr)
        found["weight_decay"].append(lr_times_decay / lr)
        found["momentum"].append(carried if decoupled else -carried / lr)
        velocity = moved + lr_times_decay * before if decoupled else -moved / lr
    return {name: np.array(values) for name, values in found.items()}


def draw(steps, size, seed=0):
    """Weights to start from, [size], and the gradients of each update, [steps, size]."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=size), generator.normal(size=(steps, size))
