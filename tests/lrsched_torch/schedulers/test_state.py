"""State: plain data, exact resume, and what happens when the schedule has changed."""

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch.optim import lr_scheduler

import lrsched
from lrsched_torch import CyclicLR, OneCycleLR, ScheduleLR

STEPS = 24


def through_torch(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def through_pickle(state):
    return pickle.loads(pickle.dumps(state))


POLICY = lrsched.Policy(
    lr=lrsched.one_cycle(0.1, STEPS),
    momentum=lrsched.one_cycle_momentum(STEPS),
    beta_2=lrsched.linear(0.9, 0.99, STEPS),
    weight_decay=lrsched.cosine(0.3, 0.0, STEPS),
    eps=lrsched.constant(1e-4),
)


def height(x):
    return 0.9**x


SCHEDULERS = {
    "one cycle": lambda o: OneCycleLR(o, 0.1, STEPS),
    "one cycle per group": lambda o: OneCycleLR(o, [0.1, 0.02], STEPS, three_phase=True),
    "cyclic": lambda o: CyclicLR(o, 0.01, 0.1, 4, mode="exp_range", gamma=0.9),
    "cyclic with a function": lambda o: CyclicLR(o, 0.01, 0.1, 4, scale_fn=height),
    "schedules": lambda o: ScheduleLR(
        o,
        lrsched.linear(0.01, 0.1, 5).then(lrsched.exponential(0.1, 1e-4, STEPS - 5)),
        [lrsched.one_cycle_momentum(STEPS), None],
    ),
    "policy": lambda o: ScheduleLR(o, POLICY),
    "policy without lr": lambda o: ScheduleLR(o, POLICY.only("weight_decay", "eps")),
}


def build(name, tensors=False):
    """A small training: two groups, AdamW."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(3, generator=generator).requires_grad_() for _ in range(2)]
    betas = (torch.tensor(0.9), torch.tensor(0.99)) if tensors else (0.9, 0.99)
    optimizer = torch.optim.AdamW(
        [{"params": [weight]} for weight in weights],
        lr=torch.tensor(0.1) if tensors else 0.1,
        betas=betas,
    )
    return weights, optimizer, SCHEDULERS[name](optimizer)


def update(training, step):
    weights, optimizer, _ = training
    optimizer.zero_grad()
    sum(((weight - step % 3) ** 2).sum() for weight in weights).backward()
    optimizer.step()


def train(training, first, last):
    for step in range(first, last):
        update(training, step)
        training[2].step()
    return torch.cat([weight.detach() for weight in training[0]])


def resumed(training, name, carry=through_torch, tensors=False, scheduler_first=False):
    """A new training in the state of another."""
    new = build(name, tensors)
    for weight, saved in zip(new[0], training[0], strict=True):
        weight.data.copy_(saved.detach())
    states = [carry(part.state_dict()) for part in training[1:]]
    loads = list(zip(new[1:], states, strict=True))
    for part, state in reversed(loads) if scheduler_first else loads:
        part.load_state_dict(state)
    return new


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("carry", [through_torch, through_pickle])
@pytest.mark.parametrize("scheduler_first", [False, True])
def test_resuming_at_any_step_equals_the_unbroken_run(name, carry, scheduler_first):
    whole = train(build(name), 0, STEPS)
    for cut in (0, 1, 13, STEPS):
        broken = build(name)
        train(broken, 0, cut)
        rest = resumed(broken, name, carry, scheduler_first=scheduler_first)
        assert torch.equal(train(rest, cut, STEPS), whole)


def test_resuming_with_tensor_hyperparameters_equals_the_unbroken_run():
    whole = train(build("one cycle", tensors=True), 0, STEPS)
    broken = build("one cycle", tensors=True)
    train(broken, 0, 11)
    rest = resumed(broken, "one cycle", tensors=True)
    assert torch.equal(train(rest, 11, STEPS), whole)
    lrs = [group["lr"] for group in rest[1].param_groups]
    assert lrs[0] is not lrs[1]


def test_a_state_saved_between_update_and_step_is_resumed_exactly():
    whole = train(build("one cycle"), 0, STEPS)
    broken = build("one cycle")
    train(broken, 0, 5)
    update(broken, 5)
    rest = resumed(broken, "one cycle", scheduler_first=True)
    rest[2].step()
    assert rest[2].last_epoch == 6
    assert torch.equal(train(rest, 6, STEPS), whole)


@pytest.mark.parametrize("carry", [through_pickle, copy.deepcopy])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_copied_scheduler_drives_its_copied_optimizer(carry, name):
    training = build(name)
    train(training, 0, 7)
    copied = carry(training)
    assert copied[2].optimizer is copied[1] is not training[1]
    rest = train(training, 7, STEPS)
    assert torch.equal(train(copied, 7, STEPS), rest)
    assert copied[2].get_last_lr() == training[2].get_last_lr()
    assert copied[2].last_epoch == STEPS


def test_the_state_is_plain_data_and_loading_leaves_it_alone():
    for name in SCHEDULERS:
        training = build(name)
        train(training, 0, 5)
        state = training[2].state_dict()
        assert {type(value) for value in state.values()} <= {str, int, bool}
        before = copy.deepcopy(state)
        for _ in range(2):
            build(name)[2].load_state_dict(state)
        assert state == before


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")
def test_a_distributed_checkpoint_holds_it(tmp_path):
    checkpoint = pytest.importorskip(
        "torch.distributed.checkpoint", reason="needs torch.distributed, which this build lacks"
    )
    for name in ("policy", "one cycle per group"):
        training = build(name)
        train(training, 0, 9)
        path = tmp_path / name
        checkpoint.save({"scheduler": training[2]}, checkpoint_id=path, no_dist=True)
        other = build(name)[2]
        checkpoint.load({"scheduler": other}, checkpoint_id=path, no_dist=True)
        assert other.state_dict() == training[2].state_dict()
    for on_mismatch, name in (("raise", "one cycle per group"), ("keep", "schedules")):
        _, optimizer, scheduler = build(name)
        scheduler._on_mismatch = on_mismatch
        checkpoint.load({"scheduler": scheduler}, checkpoint_id=path, no_dist=True)
        assert scheduler.last_epoch == 9
        assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        if name == "one cycle per group":
            assert scheduler.get_last_lr() == training[2].get_last_lr()


# Formats

# As the first version wrote it.
FORMAT_1 = {
    "format": 1,
    "step": 5,
    "lr": '{"shared": true, "curves": [{"format": 1, "segments": [{"start": 0, "end": 10, '
    '"start_value": 0.5, "end_value": 0.0, "shape": "linear", "power": 1.0}], "total_steps": 11, '
    '"loop_from": null, "period": null, "gamma": 1.0, "every": 1, "floor": 0.0}]}',
    "momentum": '{"shared": true, "curves": [null]}',
    "in_charge": True,
    "pending": 0,
    "seen": True,
}


def test_a_state_of_format_1_is_read():
    _, optimizer, _ = build("one cycle")
    for scheduler in (
        ScheduleLR(optimizer, lrsched.linear(0.5, 0.0, 11)),
        ScheduleLR(optimizer, lrsched.Policy(lr=lrsched.linear(0.5, 0.0, 11))),
    ):
        scheduler.load_state_dict(FORMAT_1)
        assert [group["lr"] for group in optimizer.param_groups] == [0.25] * 2


def test_format_2_is_written_only_where_format_1_would_not_do():
    _, optimizer, scheduler = build("policy")
    assert scheduler.state_dict()["format"] == 2
    pair = POLICY.only("lr", "momentum")
    scheduler.reschedule(pair)
    assert (
        scheduler.state_dict() == ScheduleLR(optimizer, pair["lr"], pair["momentum"]).state_dict()
    )
    assert scheduler.state_dict()["format"] == 1


# Another schedule


def test_another_schedule_is_refused_by_default():
    training = build("one cycle")
    train(training, 0, 5)
    _, optimizer, _ = build("one cycle")
    scheduler = OneCycleLR(optimizer, 0.3, 2 * STEPS)
    with pytest.raises(ValueError, match=r"on_mismatch='keep'.*at step 5.*on_mismatch='override'"):
        scheduler.load_state_dict(training[2].state_dict())
    with pytest.raises(ValueError, match="on_mismatch must be one of"):
        scheduler.load_state_dict(training[2].state_dict(), on_mismatch="ignore")
    assert scheduler.last_epoch == 0
    assert scheduler.get_last_lr() == [0.3 / 25] * 2 == [g["lr"] for g in optimizer.param_groups]


@pytest.mark.parametrize("at_construction", [False, True])
@pytest.mark.parametrize("scheduler_first", [False, True])
def test_a_new_schedule_can_be_kept(at_construction, scheduler_first):
    """Old optimizer state included, which in torch brings the old peak back."""
    training = build("one cycle")
    train(training, 0, 5)
    _, optimizer, _ = build("one cycle")
    chosen = {"on_mismatch": "keep"}
    scheduler = OneCycleLR(optimizer, 0.3, 2 * STEPS, **(chosen if at_construction else {}))
    loads = [
        lambda: optimizer.load_state_dict(training[1].state_dict()),
        lambda: scheduler.load_state_dict(
            training[2].state_dict(), **({} if at_construction else chosen)
        ),
    ]
    for load in reversed(loads) if scheduler_first else loads:
        load()
    assert scheduler.last_epoch == 5
    new = lrsched.one_cycle(0.3, 2 * STEPS)
    assert [group["lr"] for group in optimizer.param_groups] == [new(5)] * 2
    train((training[0], optimizer, scheduler), 5, 15)
    assert [group["lr"] for group in optimizer.param_groups] == [new(15)] * 2


def test_the_saved_schedule_can_be_taken_back():
    training = build("one cycle")
    train(training, 0, 5)
    weights, optimizer, _ = build("one cycle")
    scheduler = OneCycleLR(optimizer, 0.3, 2 * STEPS, on_mismatch="override")
    scheduler.load_state_dict(through_torch(training[2].state_dict()))
    assert scheduler.total_steps == STEPS
    train((weights, optimizer, scheduler), 5, 15)
    old = lrsched.one_cycle(0.1, STEPS)
    assert [group["lr"] for group in optimizer.param_groups] == [old(15)] * 2


def test_old_optimizer_state_alone_leaves_the_new_schedule():
    training = build("one cycle")
    train(training, 0, 5)
    _, optimizer, _ = build("one cycle")
    scheduler = OneCycleLR(optimizer, 0.3, STEPS)
    optimizer.load_state_dict(training[1].state_dict())
    assert [group["lr"] for group in optimizer.param_groups] == [0.3 / 25] * 2
    assert [group["betas"] for group in optimizer.param_groups] == [(0.95, 0.99)] * 2
    assert scheduler.get_last_lr() == [0.3 / 25] * 2


def test_an_lr_set_by_hand_survives_loading():
    _, optimizer, scheduler = build("one cycle")
    optimizer.param_groups[0]["lr"] = 0.7
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert optimizer.param_groups[0]["lr"] == 0.7
    assert scheduler.last_epoch == 0


def test_a_scale_function_is_not_saved_and_loading_says_so():
    training = build("cyclic with a function")
    state = training[2].state_dict()
    assert "height" in state["lr"]
    _, optimizer, _ = build("cyclic")
    other = CyclicLR(optimizer, 0.01, 0.1, 4, on_mismatch="override")
    with pytest.raises(ValueError, match=r"scale_fn .*height, which is code and not saved"):
        other.load_state_dict(state)
    other = CyclicLR(optimizer, 0.01, 0.1, 4, scale_fn=lambda x: 1.0)
    with pytest.raises(ValueError, match=r"height.*<lambda>"):
        other.load_state_dict(state)
    build("cyclic with a function")[2].load_state_dict(state)


# Bad states


def broken_states():
    state = build("one cycle")[2].state_dict()
    peer = lr_scheduler.OneCycleLR(build("one cycle")[1], 0.1, STEPS)
    return {
        "not a dict": ([1], TypeError, "state_dict must be a dict"),
        "torch's": (peer.state_dict(), ValueError, "build this one with last_epoch=k - 1"),
        "empty": ({}, ValueError, "got none"),
        "of other names": (
            build("policy")[2].state_dict(),
            ValueError,
            r"got others: .*weight_decay Schedule\(24 steps.* against None",
        ),
        "a policy of no kind": ({**state, "policy": "[]"}, TypeError, "policy must be a dict"),
        "no schedules": ({**state, "policy": '{"schedules": 1}'}, TypeError, "schedules must be"),
        "a schedule of another name": (
            {**state, "policy": '{"schedules": {"eps": {"shared": true}}}'},
            ValueError,
            "eps must hold shared and curves",
        ),
        "groups of no kind": ({**state, "policy": '{"exempt": [1]}'}, TypeError, "exempt must be"),
        "a number for a bool": (
            {**state, "policy": '{"exempt": {"weight_decay": [1]}}'},
            TypeError,
            "weight_decay must be a bool",
        ),
        "of more groups": (
            {**state, "policy": '{"exempt": {"weight_decay": [true, false, true]}}'},
            ValueError,
            "at most 2 parameter groups, got one of 3",
        ),
        "format 2 without its keys": (
            {**state, "format": 2},
            ValueError,
            r"must have the key policy or factors.*distributed checkpoint",
        ),
        "newer": ({**state, "format": 99}, ValueError, "upgrade"),
        "a float step": ({**state, "step": 3.0}, TypeError, "step must be an int"),
        "a step before the first": ({**state, "step": -2}, ValueError, "step must be an int >= -1"),
        "a schedule of no kind": ({**state, "lr": 0.1}, TypeError, "lr must be a str"),
        "a schedule that is none": ({**state, "lr": "[]"}, ValueError, "lr must hold shared"),
        "a schedule cut short": (
            {**state, "lr": '{"shared": true, "curves": [{"format": 1}]}'},
            TypeError,
            "segments",
        ),
    }


@pytest.mark.parametrize("case", broken_states())
def test_a_bad_state_is_refused_and_nothing_changes(case):
    state, error, message = broken_states()[case]
    _, optimizer, scheduler = build("one cycle")
    before = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    with pytest.raises(error, match=message):
        scheduler.load_state_dict(state)
    assert (optimizer.state_dict(), scheduler.state_dict()) == before


def test_overriding_with_schedules_for_other_groups_is_refused():
    state = build("one cycle per group")[2].state_dict()
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    scheduler = OneCycleLR(optimizer, 0.1, STEPS, on_mismatch="override")
    with pytest.raises(ValueError, match=r"lr must hold one schedule per parameter group \(1\)"):
        scheduler.load_state_dict(state)
    assert scheduler.get_last_lr() == [0.004]
