"""Schedules and policies from plain data, with steps in steps, epochs and fractions of a run."""

import pytest

import lrsched
from lrsched import Policy, compat
from lrsched.config import FUNCTIONS
from lrsched.policy.units import STEP_ARGUMENTS

WSD = {
    "warmup_stable_decay": {
        "max_lr": 0.1,
        "warmup_steps": "0.1dur",
        "decay_steps": "2ep",
        "total_steps": "1dur",
        "decay": "sqrt",
    }
}
ONE_CYCLE = {"one_cycle": {"max_lr": 0.1, "total_steps": 100}}
WARMUP = {"linear": {"start": 0.0, "end": 0.1, "total_steps": 10}}
HOLD = {"constant": {"value": "1e-1"}}


def test_steps_in_epochs_and_fractions_of_the_run():
    expected = lrsched.warmup_stable_decay(
        0.1, warmup_steps=20, decay_steps=40, total_steps=200, decay="sqrt"
    )
    for length in ({"total_steps": 200}, {"epochs": 10}, {"total_steps": 200, "epochs": 10}):
        assert lrsched.from_config(WSD, steps_per_epoch=20, **length) == expected


def test_units_in_lists():
    milestones = {"multi_step": {"base_lr": 0.5, "milestones": ["1ep", "0.5dur", 90]}}
    built = lrsched.from_config(milestones, steps_per_epoch=20, epochs=5)
    assert built == lrsched.multi_step(0.5, [20, 50, 90])


@pytest.mark.parametrize(
    ("text", "steps"),
    [("0.5ep", 5), ("0.25ep", 3), ("0.01ep", 1), ("1e1ep", 100), ("2 ep", 20), ("0.333dur", 33)],
)
def test_units_round_to_whole_steps_and_at_least_one(text, steps):
    config = {"cyclical": {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": text}}
    built = lrsched.from_config(config, steps_per_epoch=10, total_steps=100)
    assert built == lrsched.cyclical(0.1, 0.2, steps)


@pytest.mark.parametrize("total_steps", [3, 10, 99, 1000])
@pytest.mark.parametrize("fraction", [0.004, 0.05, 0.333, 0.35])
def test_a_fraction_and_its_text_are_the_same_steps(fraction, total_steps):
    steps = max(1, int(fraction * total_steps + 0.5))
    plain, of_it = (
        lrsched.warmup_cosine(0.1, warmup_steps=warmup, total_steps=total_steps)
        for warmup in (steps, fraction)
    )
    config = {"warmup_cosine": {"max_lr": 0.1, "total_steps": total_steps}}
    config["warmup_cosine"]["warmup_steps"] = f"{fraction}dur"
    assert of_it == plain == lrsched.from_config(config, total_steps=total_steps)


def test_every_step_argument_is_one_of_some_function():
    names = {name for f in FUNCTIONS.values() for name in f.__annotations__}
    assert names >= STEP_ARGUMENTS


def test_names_of_hyperparameters_make_a_policy():
    built = lrsched.from_config({"lr": ONE_CYCLE, "weight_decay": [WARMUP, HOLD]})
    assert built == Policy(
        lr=lrsched.one_cycle(0.1, 100),
        weight_decay=lrsched.linear(0.0, 0.1, 10).then(lrsched.constant(0.1)),
    )
    assert Policy.from_config({"clip_norm": HOLD})["clip_norm"](0) == 0.1
    assert Policy.from_config({"epsilon": HOLD}) == Policy(eps=lrsched.constant(0.1))
    assert Policy.from_config({"lr": WSD}, steps_per_epoch=20, epochs=10).total_steps == 200


def test_a_function_that_returns_a_pair_makes_a_policy():
    config = {"torch_one_cycle": {"max_lr": 0.1, "total_steps": 100}}
    assert lrsched.from_config(config) == Policy.from_pair(*compat.torch_one_cycle(0.1, 100))
    config["torch_one_cycle"]["cycle_momentum"] = False
    lr, _ = compat.torch_one_cycle(0.1, 100)
    assert lrsched.from_config(config) == Policy(lr=lr)
    assert lrsched.from_config({"lr": config}) == Policy(lr=lr)


def test_peers_names_make_schedules():
    config = {"torch_cosine_annealing": {"base_lr": 0.1, "T_max": "2ep"}}
    assert lrsched.from_config(config, steps_per_epoch=5) == compat.torch_cosine_annealing(0.1, 10)


def test_policies_follow_one_another():
    first, second = {"lr": WARMUP, "momentum": WARMUP}, {"momentum": HOLD, "lr": ONE_CYCLE}
    built = lrsched.from_config([first, second])
    assert built == Policy.from_config(first).then(Policy.from_config(second))


def test_what_to_dict_wrote_is_a_config():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, of the cli extra")
    policy = Policy.from_config({"lr": ONE_CYCLE, "momentum": HOLD})
    assert lrsched.from_config(yaml.safe_load(yaml.safe_dump(policy.to_dict()))) == policy
    assert lrsched.from_config(policy["lr"].to_dict()) == policy["lr"]
    assert lrsched.from_config({"clip": policy["lr"].to_dict()}) == Policy(clip=policy["lr"])


REFUSED = {
    "epochs unknown": (
        lambda: lrsched.from_config(WSD, total_steps=200),
        "decay_steps must be a number of steps where steps_per_epoch is not given, got '2ep'",
    ),
    "length unknown": (
        lambda: lrsched.from_config(WSD, steps_per_epoch=20),
        "warmup_steps must be .* where total_steps, or epochs and steps_per_epoch is not given",
    ),
    "epochs alone": (
        lambda: lrsched.from_config(HOLD, epochs=3),
        "total_steps must be given, or both epochs and steps_per_epoch",
    ),
    "lengths that disagree": (
        lambda: lrsched.from_config(HOLD, total_steps=31, epochs=3, steps_per_epoch=10),
        r"total_steps must be epochs \* steps_per_epoch \(30\)",
    ),
    "no epochs": (lambda: lrsched.from_config(HOLD, steps_per_epoch=0), "must be an int >= 1"),
    "more than the run": (
        lambda: lrsched.from_config({"linear": {"total_steps": "1.5dur"}}, total_steps=9),
        r"total_steps must be in \(0, 1\] of the run, got '1.5dur'",
    ),
    "no epoch": (
        lambda: lrsched.from_config({"linear": {"total_steps": "0ep"}}, steps_per_epoch=9),
        r"total_steps must be > 0 epochs, got '0ep'",
    ),
    "endless epochs": (
        lambda: lrsched.from_config({"linear": {"total_steps": "9e999ep"}}, steps_per_epoch=9),
        r"total_steps must be > 0 epochs",
    ),
    "a misspelt name": (
        lambda: lrsched.from_config({"learning_rate": HOLD}),
        r"named 'learning_rate' \(here: lr\)",
    ),
    "a misspelt function": (
        lambda: lrsched.from_config({"lr": {"onecycle": {}}}),
        "^lr: schedule name must be one of .*'onecycle'",
    ),
    "a function beside a name": (
        lambda: lrsched.from_config({"lr": HOLD, **ONE_CYCLE}),
        "must have one key, the name of a schedule, or names of hyper-parameters",
    ),
    "a bad value": (
        lambda: lrsched.from_config({"lr": {"constant": {"value": -1}}}),
        "^lr: value must be >= 0, got -1",
    ),
    "a pair for one name": (
        lambda: lrsched.from_config({"lr": {"torch_cyclic": {"base_lr": 0.1, "max_lr": 0.2}}}),
        "^lr: config must give one schedule here, .*cycle_momentum: false",
    ),
    "a policy within": (
        lambda: lrsched.from_config({"lr": {"lr": HOLD}}),
        "^lr: schedule name must be one of",
    ),
    "other names after": (
        lambda: lrsched.from_config([{"lr": WARMUP}, {"momentum": HOLD}]),
        "must have its names, lr, got momentum",
    ),
    "all of the run for the warmup": (
        lambda: lrsched.warmup_cosine(0.1, warmup_steps=0.999, total_steps=100),
        "warmup_steps must be a fraction that leaves a step of 100, got 0.999",
    ),
    "fractions that leave nothing": (
        lambda: lrsched.warmup_stable_decay(
            0.1, warmup_steps=0.5, decay_steps=0.5, total_steps=100
        ),
        r"total_steps \(100\), got 100 \(warmup_steps=0.5, decay_steps=0.5\)",
    ),
    "a fraction of one": (
        lambda: lrsched.warmup_cosine(0.1, warmup_steps=1.0, total_steps=100),
        r"int >= 0, or a fraction of total_steps in \(0, 1\), got 1.0 \(whole numbers .* ints\)",
    ),
    "a fraction of nothing": (
        lambda: lrsched.warmup_stable_decay(0.1, warmup_steps=0, decay_steps=0.0, total_steps=100),
        r"decay_steps must be an int >= 1, or a fraction of total_steps in \(0, 1\), got 0.0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_value_is_named(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lrsched.from_config({"lr": HOLD, "momentum": 0.9}), r"constant: \{value: 0.9\}"),
        (lambda: lrsched.from_config([HOLD, {"lr": HOLD}]), "of schedules or of policies"),
        (lambda: lrsched.from_config({"lr": {"linear": {"begin": 1}}}), "^lr: linear: .*'begin'"),
        (lambda: lrsched.from_config(HOLD, steps_per_epoch=1.5), "steps_per_epoch must be an int"),
        (lambda: Policy.from_config(ONE_CYCLE), r"that of a policy, .*\{'lr': \.\.\.\}"),
        (
            # a unit means nothing but in a number of steps
            lambda: lrsched.from_config({"constant": {"value": "10ep"}}, steps_per_epoch=9),
            "value must be a finite number >= 0, got '10ep'",
        ),
        (
            lambda: lrsched.warmup_cosine(0.1, warmup_steps="5", total_steps=100),
            r"warmup_steps must be an int >= 0, got '5' \(a float in \(0, 1\) is a fraction\)",
        ),
        (
            lambda: lrsched.warmup_cosine(0.1, warmup_steps=True, total_steps=100),
            "warmup_steps must be an int >= 0, got True",
        ),
    ],
)
def test_a_wrong_kind_is_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()
