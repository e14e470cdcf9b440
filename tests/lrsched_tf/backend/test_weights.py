"""The lr and momentum that the weights show, for every optimizer and mode."""

from functools import partial

import keras
import numpy as np
import pytest

import lrsched
from lrsched_tf import OneCycle
from tests.lrsched_tf.backend import reference

STEPS = 64
MAX_LR = 0.03
LRS = lrsched.one_cycle(MAX_LR, STEPS).values()
MOMENTA = lrsched.one_cycle_momentum(STEPS).values()
OPTIMIZERS = {
    "sgd": (reference.sgd, partial(keras.optimizers.SGD, momentum=0.9)),
    "nesterov": (reference.nesterov, partial(keras.optimizers.SGD, momentum=0.9, nesterov=True)),
    "adam": (reference.adam, keras.optimizers.Adam),
    "adamw": (reference.adamw, keras.optimizers.AdamW),
    "nadam": (reference.nadam, keras.optimizers.Nadam),
    "adamax": (reference.adamax, keras.optimizers.Adamax),
    "lamb": (reference.lamb, keras.optimizers.Lamb),
    "lion": (reference.lion, keras.optimizers.Lion),
    "rmsprop": (reference.rmsprop, partial(keras.optimizers.RMSprop, momentum=0.9)),
    "muon": (reference.muon, keras.optimizers.Muon),
}
MODES = {
    "jit": {"jit_compile": True},
    "no_jit": {"jit_compile": False},
    "eager": {"run_eagerly": True},
    "many_steps": {"steps_per_execution": 8},
}
# On JAX "no_jit" is eager too, as all of PyTorch is unless it is asked to compile, which takes it
# half a minute for each model.
BACKEND_MODES = {
    "tensorflow": ["jit", "no_jit", "eager", "many_steps"],
    "jax": ["jit", "no_jit", "many_steps"],
    "torch": ["no_jit"],
}[keras.backend.backend()]
CASES = [(name, mode) for name in OPTIMIZERS for mode in BACKEND_MODES]
if keras.backend.backend() == "torch":
    CASES.append(("sgd", "jit"))


# PyTorch's compiler warns of itself.
@pytest.mark.filterwarnings("ignore:`torch.jit.script")
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_one_cycle_moves_the_weights_as_numpy_does(name, mode, problem, same_weights):
    update, make = OPTIMIZERS[name]
    model = problem.model(make(), **MODES[mode])
    problem.fit(model, OneCycle(MAX_LR))
    expected = problem.expected(update, LRS, MOMENTA)
    same_weights(model, expected)
    # The comparison sees a momentum that stays, an lr one step late, and an lr off by 1%.
    for lrs, momenta in (
        (LRS, np.full(STEPS, 0.9)),
        (np.roll(LRS, 1), MOMENTA),
        (LRS * 1.01, MOMENTA),
    ):
        with pytest.raises(AssertionError, match="weights differ"):
            same_weights(model, problem.expected(update, lrs, momenta))
