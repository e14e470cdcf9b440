"""The evaluator: its accuracy in float32, its memory, and other array libraries."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from tests import strategies


class Float32:
    """A namespace over NumPy that computes in float32, as accelerators do."""

    where = staticmethod(np.where)

    @staticmethod
    def floating(steps):
        return np.asarray(steps).astype(np.float32)

    @staticmethod
    def clip(x, low, high):
        return np.clip(x, np.float32(low), np.float32(high))

    @staticmethod
    def power(x, exponent):
        return np.power(x, np.float32(exponent))


for _name in ("sin", "exp", "sqrt", "expm1", "log1p"):
    setattr(Float32, _name, staticmethod(getattr(np, _name)))


def in_float32(schedule, steps):
    with np.errstate(all="ignore"):
        values = schedule.evaluate_in(Float32, np.asarray(steps, np.int32))
    assert values.dtype == np.float32
    return values


@pytest.mark.parametrize("name", sorted(strategies.FUNCTIONS))
@given(st.data())
def test_float32_is_within_its_accuracy_at_every_step(name, data):
    schedule = data.draw(strategies.FUNCTIONS[name])
    steps = np.arange(schedule.total_steps or 900)
    exact = schedule(steps)
    # gamma**n keeps log(value) * 6e-8; a value that has decayed this far is as good as none
    representable = exact > 1e-20
    values = in_float32(schedule, steps)[representable]
    np.testing.assert_allclose(values, exact[representable], rtol=5e-6, atol=0)


def test_float32_keeps_a_long_cyclical_exact():
    schedule = lrsched.cyclical(1e-4, 1e-1, 2000, mode="exp_range", gamma=0.99994)
    steps = np.concatenate([np.arange(100_000), np.arange(10**9, 10**9 + 10_000)])
    np.testing.assert_allclose(in_float32(schedule, steps), schedule(steps), rtol=5e-6)


def test_float32_keeps_the_tail_of_a_sweep_and_of_a_restart():
    for schedule in (
        lrsched.exponential_sweep(1e-7, 10.0, 1000),
        lrsched.compat.torch_cosine_annealing_warm_restarts(0.1, 1000, 2, eta_min=1e-8),
        lrsched.one_cycle(1.0, 100_000),
    ):
        steps = np.arange(100_000)
        np.testing.assert_allclose(in_float32(schedule, steps), schedule(steps), rtol=5e-6)


def test_values_hold_little_more_than_their_result():
    schedule = lrsched.one_cycle(0.1, 1_000_000)
    schedule.values(10)
    tracemalloc.start()
    values = schedule.values()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 1.25 * values.nbytes


@pytest.fixture(scope="module")
def jnp():
    return pytest.importorskip("jax.numpy", reason="needs jax, which is not installed")


def test_a_jax_step_is_evaluated_in_jax(jnp):
    import jax

    for schedule in (
        lrsched.one_cycle(0.1, 1000),
        lrsched.cyclical(0.01, 0.1, 50, mode="triangular2"),
        lrsched.inverse_sqrt(0.1, warmup_steps=100),
        lrsched.polynomial(1.0, 0.1, 500, power=2.0),
    ):
        steps = np.arange(1200)
        traced = jax.jit(schedule)(jnp.asarray(steps))
        assert isinstance(traced, jax.Array)
        np.testing.assert_allclose(traced, schedule(steps), rtol=5e-6)
        np.testing.assert_allclose(schedule(jnp.asarray(7)), schedule(7), rtol=5e-6)
        assert schedule(jnp.asarray(7, dtype=jnp.uint8)) == pytest.approx(schedule(7), rel=5e-6)


def test_other_array_types_must_be_integers_too(jnp):
    with pytest.raises(TypeError, match="array of integers, got dtype float32"):
        lrsched.one_cycle(0.1, 100)(jnp.asarray(3.0))


def test_a_schedule_is_an_optax_schedule(jnp):
    optax = pytest.importorskip("optax", reason="needs optax, which is not installed")
    schedule = lrsched.one_cycle(0.1, 20)
    optimizer = optax.sgd(schedule)
    weight, gradient = jnp.zeros(()), jnp.ones(())
    state = optimizer.init(weight)
    moves = []
    for _ in range(20):
        update, state = optimizer.update(gradient, state, weight)
        moves.append(-float(update))
    np.testing.assert_allclose(moves, schedule.values(), rtol=5e-6)


@pytest.mark.parametrize("start", [3 - 2**-51, 3 - 1e-9, 2 + 2**-51, 2.0])
@pytest.mark.parametrize("length", [1.0, 2**-50])
def test_ends_of_a_segment_as_short_as_rounding_are_exact(start, length):
    """The middle of such a segment may round to either of its ends."""
    end = float(np.ceil(start)) if length < 1 and start % 1 else start + length
    schedule = lrsched.Schedule((lrsched.Segment(start, end, 1.0, 1 / 271, "cos"),))
    if end.is_integer():
        assert schedule(int(end)) == 1 / 271
        assert in_float32(schedule, [int(end)])[0] == np.float32(1 / 271)
    if start.is_integer():
        assert schedule(int(start)) == 1.0
        assert in_float32(schedule, [int(start)])[0] == 1.0
