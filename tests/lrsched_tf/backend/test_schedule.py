"""KerasSchedule: the core's values inside the graph, and its way through a saved model."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

import lrsched
from lrsched_tf import KerasSchedule
from lrsched_tf.compiled.ops import CompiledSchedule
from tests.lrsched_tf.backend.scheduling import MAX_LR, STEPS

TOTAL = 100_000
SCHEDULES = {
    "one_cycle": lrsched.one_cycle(0.1, TOTAL),
    "three_phase": lrsched.one_cycle(0.1, TOTAL, three_phase=True, anneal="linear"),
    "sweep": lrsched.exponential_sweep(1e-7, 10.0, TOTAL),
    "polynomial": lrsched.polynomial(0.1, 1e-4, TOTAL, power=2.0),
    "warmup_cosine": lrsched.warmup_cosine(0.1, total_steps=TOTAL, warmup_steps=5000),
    "restarts": lrsched.cosine_restarts(0.1, 2000, 5, min_lr=1e-5, cycle_mult=2),
    "triangular2": lrsched.cyclical(1e-3, 0.1, 2000, mode="triangular2"),
    "exp_range": lrsched.cyclical(1e-3, 0.1, 2000, mode="exp_range", gamma=0.99999),
    "inverse_sqrt": lrsched.inverse_sqrt(0.1, warmup_steps=4000),
}


def graph_values(schedule, steps):
    """The values of a schedule at steps, from a compiled function of the backend."""
    backend = keras.backend.backend()
    function = schedule.__call__
    if backend == "tensorflow":
        import tensorflow

        function = tensorflow.function(function, jit_compile=True)
    elif backend == "jax":
        import jax

        function = jax.jit(function)
    return ops.convert_to_numpy(function(ops.convert_to_tensor(steps)))


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_is_the_core_s_in_float32(name):
    core = SCHEDULES[name]
    steps = np.arange(TOTAL, dtype="int32")
    values = graph_values(KerasSchedule(core), steps)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, core(steps), rtol=5e-6)


def test_a_wrong_schedule_is_seen_to_differ():
    steps = np.arange(TOTAL, dtype="int32")
    values = graph_values(KerasSchedule(SCHEDULES["one_cycle"]), steps)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(values, SCHEDULES["one_cycle"](steps + 1), rtol=5e-6)


BEYOND_INT32 = lrsched.linear(0.1, 0.0, 10**10)
MANY_PIECES = lrsched.multi_step(0.01, list(range(10, 10_010, 10)), 0.999)
BOTH = dataclasses.replace(MANY_PIECES, total_steps=10_020).then(BEYOND_INT32)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
@pytest.mark.parametrize("core", [BEYOND_INT32, MANY_PIECES, BOTH])
def test_knots_beyond_int32_and_many_pieces_are_right(core, dtype):
    steps = np.array([-7, 0, 1, 55, 127] if dtype == "int8" else [-7, 0, 9_999, 20_000, 10**9])
    for given in (steps, steps[:1], steps[-1]):
        values = graph_values(KerasSchedule(core), given.astype(dtype))
        np.testing.assert_allclose(values, core(given), rtol=5e-6)


def test_a_schedule_without_a_loop_is_a_table_in_a_step():
    """Also without total_steps, so that a thousand pieces cost no more than a few."""
    of = CompiledSchedule(MANY_PIECES)
    assert of.table is not None
    for step in (0, 55, 10_000, 10**6):
        value = ops.convert_to_numpy(of(ops.convert_to_tensor(step)))
        np.testing.assert_allclose(value, MANY_PIECES(step), rtol=1e-6)
    assert CompiledSchedule(BOTH).table is None


@pytest.mark.parametrize("step", [7, np.int64(7), np.array([3, 7])])
def test_it_takes_ints_and_arrays(step):
    core = SCHEDULES["one_cycle"]
    values = ops.convert_to_numpy(KerasSchedule(core)(step))
    np.testing.assert_allclose(values, core(step), rtol=5e-6)


def test_a_step_that_is_no_integer_is_an_error():
    unsigned = ops.convert_to_tensor(3, "uint32")  # int64 on torch
    steps = [ops.convert_to_tensor(3.0), *([unsigned] if "uint32" in str(unsigned.dtype) else [])]
    for step in steps:
        with pytest.raises(TypeError, match="step must be of integers, as int32 or int64, got"):
            KerasSchedule(SCHEDULES["one_cycle"])(step)


def test_what_is_no_schedule_is_an_error():
    with pytest.raises(TypeError, match="schedule must be a Schedule"):
        KerasSchedule(0.1)


def test_a_saved_model_goes_on_where_it_was(problem, check_weights, tmp_path):
    lr = lrsched.one_cycle(MAX_LR, STEPS)
    model = problem.model(keras.optimizers.SGD(KerasSchedule(lr), momentum=0.9))
    problem.fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer._learning_rate.schedule == lr
    problem.fit(loaded, epochs=1)
    momenta = np.full(STEPS, 0.9)
    check_weights(loaded, momenta=momenta)
    with pytest.raises(AssertionError, match="weights differ"):
        check_weights(loaded, lrs=np.roll(lr.values(), 1), momenta=momenta)


@pytest.mark.parametrize("name", SCHEDULES)
def test_its_config_makes_it_again(name):
    schedule = KerasSchedule(SCHEDULES[name])
    serialized = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(serialized)
    assert isinstance(again, KerasSchedule)
    assert again.schedule == schedule.schedule
