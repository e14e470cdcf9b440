"""The optimizers of Keras in float64 NumPy, one update with one lr and one momentum at a time.

Each takes a weight, its gradient, the lr, the momentum, a dict that it keeps its averages in, and
the number of the update from 1 on; it returns the new weight. Defaults are those of Keras.
"""

import numpy as np

BETA_2 = 0.999
EPSILON = 1e-7


def sgd(w, g, lr, mu, state, t):
    v = state["v"] = mu * state.get("v", 0.0) - lr * g
    return w + v


def nesterov(w, g, lr, mu, state, t):
    v = state["v"] = mu * state.get("v", 0.0) - lr * g
    return w + mu * v - lr * g


def _moments(g, beta_1, state):
    m = state["m"] = beta_1 * state.get("m", 0.0) + (1 - beta_1) * g
    v = state["v"] = BETA_2 * state.get("v", 0.0) + (1 - BETA_2) * g**2
    return m, v


def adam(w, g, lr, mu, state, t):
    m, v = _moments(g, mu, state)
    alpha = lr * np.sqrt(1 - BETA_2**t) / (1 - mu**t)
    return w - alpha * m / (np.sqrt(v) + EPSILON)


def adamw(w, g, lr, mu, state, t):
    return adam(w - w * 0.004 * lr, g, lr, mu, state, t)


def nadam(w, g, lr, mu, state, t):
    u, u_next = (mu * (1 - 0.5 * 0.96**k) for k in (t, t + 1))
    product = state["u"] = state.get("u", 1.0) * u
    m, v = _moments(g, mu, state)
    m_hat = u_next * m / (1 - product * u_next) + (1 - u) * g / (1 - product)
    return w - lr * m_hat / (np.sqrt(v / (1 - BETA_2**t)) + EPSILON)


def adamax(w, g, lr, mu, state, t):
    m = state["m"] = mu * state.get("m", 0.0) + (1 - mu) * g
    u = state["u"] = np.maximum(BETA_2 * state.get("u", 0.0), abs(g))
    return w - lr * m / ((1 - mu**t) * (u + EPSILON))


def lamb(w, g, lr, mu, state, t):
    m, v = _moments(g, mu, state)
    update = m / (1 - mu**t) / (np.sqrt(v / (1 - BETA_2**t)) + EPSILON)
    norms = np.linalg.norm(w), np.linalg.norm(update)
    ratio = norms[0] / norms[1] if min(norms) > 0 else 1.0
    return w - ratio * lr * update


def lion(w, g, lr, mu, state, t):
    m = state.get("m", 0.0)
    state["m"] = 0.99 * m + 0.01 * g
    return w - lr * np.sign(mu * m + (1 - mu) * g)


def rmsprop(w, g, lr, mu, state, t):
    v = state["v"] = 0.9 * state.get("v", 0.0) + 0.1 * g**2
    m = state["m"] = mu * state.get("m", 0.0) + lr * g / np.sqrt(v + EPSILON)
    return w - m


def muon(w, g, lr, mu, state, t):
    if w.ndim != 2:
        return adamw(w, g, lr, mu, state, t)
    w = w - w * 0.004 * lr
    m = state["m"] = mu * state.get("m", 0.0) + g
    return w - lr * 0.2 * np.sqrt(max(w.shape)) * _orthogonal(g + mu * m)


def _orthogonal(x):
    """Five Newton-Schulz steps; the shape of the tests has more rows than columns."""
    x = x.T / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T


def train(weights, batches, update, lrs, momenta, *, accumulate=1):
    """Kernel and bias of a linear model after one update of mean squared error per lr.

    With `accumulate` batches to an update, the gradients of that many are averaged.
    """
    weights = [np.asarray(w, float) for w in weights]
    states = [{} for _ in weights]
    groups = [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]
    path = []
    for t, (group, lr, mu) in enumerate(zip(groups, lrs, momenta, strict=True), start=1):
        parts = [_gradients(*weights, np.asarray(x, float), y) for x, y in group]
        gradients = [sum(part) / len(group) for part in zip(*parts, strict=True)]
        weights = [
            update(w, g, lr, mu, state, t)
            for w, g, state in zip(weights, gradients, states, strict=True)
        ]
        path.append(weights)
    return weights, path


def _gradients(kernel, bias, x, y):
    slope = 2 * (x @ kernel + bias - y) / y.size
    return x.T @ slope, slope.sum(axis=0)
