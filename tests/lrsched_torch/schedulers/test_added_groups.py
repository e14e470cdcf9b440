"""Groups that are added with an lr of their own keep it, as a multiple of the schedule."""

import warnings

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from lrsched_torch import CyclicLR, OneCycleLR, ScheduleLR

CURVE = lrsched.one_cycle(0.1, 30)
OWN = "a parameter group was added with an lr of its own"


def parameter():
    return torch.zeros(2, dtype=torch.float64, requires_grad=True)


def advance(scheduler, steps=1):
    """The lrs that moved the first weight of each group."""
    moves = []
    for _ in range(steps):
        weights = [group["params"][0] for group in scheduler.optimizer.param_groups]
        before = [weight.detach().clone() for weight in weights]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        scheduler.optimizer.step()
        scheduler.step()
        moves.append([(b - w)[0].item() for b, w in zip(before, weights, strict=True)])
    return moves


@pytest.fixture
def scheduler():
    scheduler = ScheduleLR(torch.optim.SGD([parameter()], 0.5), CURVE)
    advance(scheduler, 10)
    return scheduler


def test_a_group_starts_at_exactly_its_lr_and_keeps_the_ratio(scheduler):
    scheduler.optimizer.add_param_group({"params": [parameter()], "lr": 1e-5})
    with pytest.warns(UserWarning, match=OWN) as caught:
        moves = advance(scheduler, 15)
    assert len(caught) == 1
    assert moves[0][1] == 1e-5
    expected = [[CURVE(k), CURVE(k) / CURVE(10) * 1e-5] for k in range(10, 25)]
    assert moves == [pytest.approx(row, rel=1e-9) for row in expected]


@pytest.mark.parametrize("lr", [None, 0.5, "the present one"])
def test_a_group_without_one_shares_the_schedule_without_a_word(scheduler, lr):
    own = {} if lr is None else {"lr": 0.5 if lr == 0.5 else CURVE(10)}
    scheduler.optimizer.add_param_group({"params": [parameter()], **own})
    moves = advance(scheduler, 15)
    assert all(first == pytest.approx(second, rel=1e-12) for first, second in moves)


def test_a_group_added_by_a_fine_tuning_callback(scheduler):
    """A tenth of the present lr, as Lightning's BaseFinetuning has it."""
    lr = scheduler.optimizer.param_groups[0]["lr"] / 10
    scheduler.optimizer.add_param_group({"params": [parameter()], "lr": lr})
    with pytest.warns(UserWarning, match=OWN):
        moves = advance(scheduler, 15)
    assert all(second == pytest.approx(first / 10, rel=1e-9) for first, second in moves)


def test_where_the_schedule_is_zero_there_is_no_ratio():
    scheduler = ScheduleLR(torch.optim.SGD([parameter()], 0.5), lrsched.linear(0.0, 0.1, 11))
    scheduler.optimizer.add_param_group({"params": [parameter()], "lr": 1e-5})
    moves = advance(scheduler, 0)
    weight = scheduler.optimizer.param_groups[1]["params"][0]
    weight.grad = torch.ones_like(weight)
    scheduler.optimizer.step()
    with pytest.warns(UserWarning, match=OWN):
        scheduler.step()  # here it is no longer 0
    assert moves == []
    zero = ScheduleLR(torch.optim.SGD([parameter()], 0.5), lrsched.constant(0.0))
    advance(zero)
    zero.optimizer.add_param_group({"params": [parameter()], "lr": 1e-5})
    zero.optimizer.step()
    with pytest.raises(ValueError, match="reschedule gives the group a schedule of its own"):
        zero.step()
    zero.reschedule([lrsched.constant(0.0), lrsched.constant(1e-5)])
    assert advance(zero, 2)[1] == pytest.approx([0.0, 1e-5])


def test_a_group_added_after_the_end_is_left_alone(scheduler):
    advance(scheduler, 25)
    scheduler.optimizer.add_param_group({"params": [parameter()], "lr": 1e-3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert advance(scheduler, 3)[2] == pytest.approx([CURVE(30), 1e-3], rel=1e-9)


def groups():
    return torch.optim.SGD([{"params": [parameter()]}, {"params": [parameter()]}], 0.5)


@pytest.mark.parametrize("optimizer_first", [False, True])
def test_the_factor_is_in_the_state_and_resumes_bit_for_bit(scheduler, optimizer_first):
    assert scheduler.state_dict()["format"] == 1
    scheduler.optimizer.add_param_group({"params": [parameter()], "lr": 1e-5})
    with pytest.warns(UserWarning, match=OWN):
        advance(scheduler, 5)
    state = scheduler.state_dict()
    assert state["format"] == 2
    resumed = ScheduleLR(groups(), CURVE)
    loads = [
        lambda: resumed.load_state_dict(state),
        lambda: resumed.optimizer.load_state_dict(scheduler.optimizer.state_dict()),
    ]
    for load in reversed(loads) if optimizer_first else loads:
        load()
    lrs = [[g["lr"] for g in s.optimizer.param_groups] for s in (scheduler, resumed)]
    assert lrs[0] == lrs[1]
    for _ in range(10):
        advance(scheduler)
        advance(resumed)
        lrs = [[g["lr"] for g in s.optimizer.param_groups] for s in (scheduler, resumed)]
        assert lrs[0] == lrs[1]
    assert resumed.state_dict() == scheduler.state_dict()
    narrow = ScheduleLR(torch.optim.SGD([parameter()], 0.5), lrsched.constant(0.1))
    before = narrow.state_dict()
    with pytest.raises(ValueError, match="add the groups before"):
        narrow.load_state_dict(state, on_mismatch="override")
    assert narrow.state_dict() == before


@pytest.mark.parametrize(
    "make",
    [
        lambda o: OneCycleLR(o, 0.1, 30),
        lambda o: CyclicLR(o, 0.01, 0.1, 10),
        lambda o: CyclicLR(o, 0.01, 0.1, 5, scale_fn=lambda cycle: 1 / cycle),
    ],
)
def test_the_drop_ins_do_so_too(make):
    scheduler = make(torch.optim.SGD([parameter()], 0.5))
    advance(scheduler, 3)
    scheduler.optimizer.add_param_group({"params": [parameter()], "lr": 1e-4})
    with pytest.warns(UserWarning, match=OWN):
        moves = advance(scheduler, 10)
    assert moves[0][1] == pytest.approx(1e-4, rel=1e-12)
    ratio = moves[0][1] / moves[0][0]
    assert all(second / first == pytest.approx(ratio, rel=1e-6) for first, second in moves)
