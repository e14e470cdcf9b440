"""The evaluator: its accuracy in float32, its memory, and other array libraries."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from lrsched import Schedule, Segment
from lrsched.engine import evaluate
from tests import strategies


class Float32:
    """A namespace over NumPy that computes in float32, as accelerators do."""

    where = staticmethod(np.where)

    @staticmethod
    def floating(steps):
        return np.asarray(steps).astype(np.float32)

    @staticmethod
    def largest(steps):
        return np.iinfo(steps.dtype).max

    @staticmethod
    def count_up_to(firsts, steps):
        assert firsts.max() <= np.iinfo(steps.dtype).max
        return np.searchsorted(firsts, steps, side="right").astype(steps.dtype)

    @staticmethod
    def take(numbers, indices):
        dtype = indices.dtype if numbers.dtype == np.int64 else np.float32
        return numbers.astype(dtype)[indices]

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


def test_steps_of_floats_must_be_whole(jnp):
    import jax

    schedule = lrsched.one_cycle(0.1, 100)
    assert float(schedule(jnp.asarray(3.0))) == pytest.approx(schedule(3), rel=5e-6)
    assert float(jax.jit(schedule)(jnp.asarray(3.0))) == pytest.approx(schedule(3), rel=5e-6)
    with pytest.raises(ValueError, match="step must be whole, got"):
        schedule(jnp.asarray(3.5))
    with pytest.raises(TypeError, match="array of integers, got dtype bool"):
        schedule(jnp.asarray(True))
    with pytest.raises(TypeError, match="int32 or int64, got dtype uint32"):
        schedule(jnp.asarray(3, jnp.uint32))


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


FAR = 10**10
BEYOND_INT32 = {
    "end": lrsched.linear(0.1, 0.0, FAR),
    "middle within": Schedule((Segment(0, 3e9, 0.1, 0.2, "cos"),)),
    "start and end": Schedule((Segment(-FAR, FAR, 0.1, 0.2),)),
    "second segment": lrsched.linear(0.1, 0.2, 2**31).then(lrsched.cosine(0.2, 0.0, FAR)),
    "period": Schedule((Segment(0, FAR, 0.1, 0.2),), loop_from=0, period=FAR),
    "start of a loop": Schedule((Segment(0, 9, 0.1, 0.2),), loop_from=FAR, period=9, gamma=0.5),
    "damping": Schedule((Segment(0, 9, 0.1, 0.2),), loop_from=0, period=9, gamma=0.5, every=FAR),
    "many": lrsched.multi_step(0.1, [k * 10**8 for k in range(1, 100)], 0.99),
}


@pytest.mark.parametrize("name", BEYOND_INT32)
def test_knots_that_the_type_of_the_steps_cannot_hold(name, jnp):
    schedule = BEYOND_INT32[name]
    steps = np.array([-(2**31), -1, 0, 1, 10**9, 2 * 10**9, 2**31 - 2, 2**31 - 1], np.int32)
    exact = [schedule(int(step)) for step in steps]
    np.testing.assert_allclose(schedule(steps), exact, rtol=1e-12)
    np.testing.assert_allclose(in_float32(schedule, steps), exact, rtol=5e-6)
    np.testing.assert_allclose(schedule(jnp.asarray(steps)), exact, rtol=5e-6)


def test_steps_near_the_largest_are_exact():
    schedule = Schedule((Segment(0, 2.0**61, 0.1, 0.2), Segment(2.0**62 - 1024, 2.0**62, 0.3, 0.1)))
    steps = [0, 2**60, 2**61, 2**62 - 512, 2**62, 2**63 - 1]
    assert schedule(np.array(steps)).tolist() == [schedule(step) for step in steps]
    assert schedule(2**62 - 512) == pytest.approx(0.2)


def test_a_step_before_the_first_is_the_first(jnp):
    for schedule in (
        Schedule((Segment(-100, 100, 0.0, 1.0),)),
        lrsched.cyclical(0.1, 0.2, 5, mode="exp_range", gamma=0.9),
    ):
        first = schedule(0)
        assert schedule(-1) == schedule(np.int64(-7)) == schedule(-(10**30)) == first
        assert schedule(np.array([-3, 0])).tolist() == [first, first]
        assert float(schedule(jnp.asarray(-3))) == pytest.approx(first)


MANY = {
    "steps": lrsched.multi_step(0.1, list(range(10, 10_000, 10)), 0.999),
    "shapes": lrsched.from_config(
        [
            {"cosine": {"start": 0.1, "end": 0.01, "total_steps": 7}},
            {"exponential": {"start": 0.01, "end": 0.1, "total_steps": 13}},
            {"polynomial": {"start": 0.1, "end": 0.0, "total_steps": 9, "power": 2.5}},
            {"linear": {"start": 0.0, "end": 0.1, "total_steps": 2}},
        ]
        * 50
    ),
}
MANY["loop"] = MANY["shapes"].loop(gamma=0.9)


@pytest.mark.parametrize("name", MANY)
def test_many_pieces_are_those_of_few(name, jnp):
    """Arrays and traces look the numbers of a piece up, ints do not."""
    import jax

    schedule, steps = MANY[name], np.random.default_rng(0).integers(0, 12_000, 2000)
    exact = [schedule(int(step)) for step in steps]
    np.testing.assert_allclose(schedule(steps), exact, rtol=1e-14)
    np.testing.assert_allclose(schedule.values(100), [schedule(k) for k in range(100)], rtol=1e-14)
    np.testing.assert_allclose(in_float32(schedule, steps), exact, rtol=5e-6, atol=1e-9)
    np.testing.assert_allclose(jax.jit(schedule)(jnp.asarray(steps)), exact, rtol=5e-6, atol=1e-9)


def test_a_trace_of_many_pieces_is_not_longer_than_one_of_a_few(jnp):
    import jax

    def length(schedule):
        return len(jax.make_jaxpr(schedule)(jnp.asarray(0)).eqns)

    assert length(MANY["steps"]) == length(lrsched.multi_step(0.1, list(range(40)), 0.999)) < 60


def test_arrays_of_steps_cost_no_product_of_steps_and_pieces():
    """The formula of a piece is called once per block, however many pieces the block meets."""
    calls = []
    formula = evaluate.SHAPES["linear"].from_start
    schedule = lrsched.multi_step(0.1, list(range(0, 10**5, 10)), 0.9999)
    plan = schedule._plan

    def counting(*arguments):
        calls.append(1)
        return formula(*arguments)

    columns = plan.columns._replace(formulas=[counting])
    evaluate.over(
        plan._replace(columns=columns), np.random.default_rng(0).integers(0, 10**5, 20_000)
    )
    assert len(calls) == 3


def test_a_chain_is_checked_once(monkeypatch):
    """A link of a chain is not checked again with each link that follows."""
    checks = []
    original = Segment.__post_init__
    monkeypatch.setattr(
        Segment, "__post_init__", lambda self: (checks.append(1), original(self))[1]
    )
    link = lrsched.linear(0.0, 0.1, 5)
    chain = link
    for _ in range(100):
        chain = chain.then(link)
    lrsched.from_config([{"linear": {"start": 0.0, "end": 0.1, "total_steps": 5}}] * 100)
    assert len(checks) <= 400
    assert chain.total_steps == 505


def test_what_the_last_of_a_chain_holds_after_its_end_stays():
    last = Schedule((Segment(0, 3, 0.1, 0.2), Segment(4, 5, 0.5, 0.5)), total_steps=4)
    chain = lrsched.linear(0.0, 0.1, 5).then(last)
    assert (chain(8), chain(9), chain(99)) == (0.2, 0.5, 0.5)
    # Before another, it never comes into force.
    assert chain.then(lrsched.constant(0.3))(9) == 0.3
    assert len(chain.then(lrsched.constant(0.3)).segments) == 3


def test_an_optax_schedule_in_company(jnp):
    import jax

    optax = pytest.importorskip("optax", reason="needs optax, which is not installed")
    parts = [lrsched.linear(0.0, 0.1, 5), lrsched.cosine(0.1, 0.0, 10)]
    joined = optax.join_schedules(parts, [5])
    expected = parts[0].then(parts[1]).values()
    np.testing.assert_allclose([joined(step) for step in range(15)], expected, rtol=5e-6, atol=1e-9)
    steps = jnp.arange(15)
    np.testing.assert_allclose(jax.vmap(joined)(steps), expected, rtol=5e-6, atol=1e-9)

    weight, gradient = jnp.zeros(()), jnp.ones(())
    one_cycle = lrsched.one_cycle(0.1, 20)
    for optimizer, repeat in (
        (optax.inject_hyperparams(optax.sgd)(learning_rate=one_cycle), 1),
        (optax.MultiSteps(optax.sgd(one_cycle), every_k_schedule=3), 3),
    ):

        def step(state, _, optimizer=optimizer):
            update, state = optimizer.update(gradient, state, weight)
            return state, -update

        _, moves = jax.lax.scan(step, optimizer.init(weight), None, length=20 * repeat)
        np.testing.assert_allclose(moves[repeat - 1 :: repeat], one_cycle.values(), rtol=5e-6)


def test_a_factor_between_neighbouring_floats_rises_at_no_step_too_far():
    low, high = 1e-08, 1.0000000000000002e-08
    assert set(lrsched.exponential(low, high, 9).values()) == {low, high}
