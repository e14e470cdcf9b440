"""Tensor lr and betas: filled in place, never replaced or shared; compiled and captured steps."""

import warnings

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

import lrsched
from lrsched_torch import CyclicLR, OneCycleLR, ScheduleLR

STEPS = 200


def weights(count, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, generator=generator).to(device).requires_grad_() for _ in range(count)]


def groups_of(parameters):
    return [{"params": [parameter]} for parameter in parameters]


def set_gradients(parameters, step):
    for parameter in parameters:
        parameter.grad = torch.cos(parameter.detach() + step)


def test_a_tensor_shared_by_the_groups_is_made_each_groups_own():
    """AdamW(groups, lr=tensor) hands one tensor to all groups."""
    lr, beta1 = torch.tensor(0.1), torch.tensor(0.9)
    optimizer = torch.optim.AdamW(
        groups_of(weights(2)), lr=lr, betas=(beta1, torch.tensor(0.99)), capturable=False
    )
    assert optimizer.param_groups[0]["lr"] is optimizer.param_groups[1]["lr"]
    momenta = [lrsched.constant(0.5), lrsched.constant(0.75)]
    ScheduleLR(optimizer, [lrsched.constant(0.25), lrsched.constant(0.5)], momenta)
    found = [(group["lr"].item(), group["betas"][0].item()) for group in optimizer.param_groups]
    assert found == [(0.25, 0.5), (0.5, 0.75)]


@pytest.mark.parametrize(
    ("cls", "arguments"), [(OneCycleLR, ([0.1, 0.2], 50)), (CyclicLR, (0.01, 0.1, 5))]
)
def test_tensors_keep_their_identity(cls, arguments):
    parameters = weights(2)
    betas = torch.tensor(0.9), torch.tensor(0.99)
    optimizer = torch.optim.AdamW(groups_of(parameters), lr=torch.tensor(0.1), betas=betas)
    scheduler = cls(optimizer, *arguments)
    held = [(group["lr"], *group["betas"]) for group in optimizer.param_groups]
    for step in range(10):
        set_gradients(parameters, step)
        optimizer.step()
        scheduler.step()
    for group, before in zip(optimizer.param_groups, held, strict=True):
        after = group["lr"], *group["betas"]
        assert all(one is other for one, other in zip(after, before, strict=True))
        assert group["betas"][1].item() == pytest.approx(0.99)
    lrs = [group["lr"] for group in optimizer.param_groups]
    assert scheduler.get_last_lr() == lrs
    assert scheduler.get_last_lr()[0] is not lrs[0]
    assert [lr.item() for lr in lrs] == pytest.approx(scheduler.get_lr(), rel=1e-6)


def test_tensors_of_a_policy_are_filled_and_none_is_shared():
    """Also where one of those that are filled at once has become a float."""
    parameters = weights(3)
    optimizer = torch.optim.SGD(
        groups_of(parameters), lr=torch.tensor(0.1), momentum=0.9, weight_decay=torch.tensor(0.1)
    )
    policy = lrsched.Policy(
        lr=lrsched.one_cycle(0.1, 50),
        momentum=lrsched.one_cycle_momentum(50),
        weight_decay=lrsched.cosine(0.1, 0.0, 50),
    )
    scheduler = ScheduleLR(optimizer, policy)

    def values(name):
        return [group[name] for group in optimizer.param_groups]

    held = values("lr") + values("weight_decay")
    for step in range(1, 9):
        if step == 6:
            optimizer.param_groups[1]["lr"] = 0.3
        set_gradients(parameters, step)
        optimizer.step()
        scheduler.step()
        for name, value in policy.at(step).items():
            # A tensor is compared in its own precision.
            assert all(bool(each == value) for each in values(name))
    after = values("lr") + values("weight_decay")
    kept = [one is other for one, other in zip(after, held, strict=True)]
    assert kept == [True, False, True, True, True, True]
    assert len({each.data_ptr() for each in held}) == 6


def test_a_group_added_with_the_default_tensor_gets_its_own():
    parameters = weights(2)
    optimizer = torch.optim.SGD(parameters[:1], lr=torch.tensor(0.1))
    scheduler = OneCycleLR(optimizer, 0.1, 50)
    optimizer.add_param_group({"params": parameters[1:]})
    set_gradients(parameters, 0)
    optimizer.step()
    scheduler.step()
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first is not second
    assert first == second


# torch.compile, with inductor: other backends do not show what is recompiled.


@pytest.fixture
def graphs():
    """Number of graphs that dynamo has compiled."""
    dynamo = pytest.importorskip("torch._dynamo", reason="needs torch.compile")
    torch.compiler.reset()
    dynamo.utils.counters.clear()
    yield lambda: dynamo.utils.counters["stats"]["unique_graphs"]
    torch.compiler.reset()


def run(make, steps, backend="inductor", after_step=lambda: None):
    parameters = [weight.detach().double().requires_grad_() for weight in weights(3)]
    optimizer, schedule = make(parameters)
    update = torch.compile(optimizer.step, backend=backend) if backend else optimizer.step
    for step in range(steps):
        set_gradients(parameters, step)
        update()
        schedule.step()
        after_step()
    assert schedule.last_epoch == steps
    return torch.cat([parameter.detach() for parameter in parameters])


def rounding(weights, steps):
    """How far two ways to compute the same updates may lie apart.

    Each of the steps rounds each weight, in both of them, by half a unit in its last place. The
    rest of a step has an error relative to the update, a hundredth of a weight. A wrong learning
    rate is far beyond it, in float64 most of all.
    """
    return steps * torch.finfo(weights.dtype).eps * weights.abs().max()


def adam_with_tensors(parameters):
    optimizer = torch.optim.AdamW(
        groups_of(parameters),
        lr=torch.tensor(0.1, dtype=torch.float64),
        betas=tuple(torch.tensor([0.9, 0.99], dtype=torch.float64)),
    )
    return optimizer, OneCycleLR(optimizer, 0.01, STEPS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_adam_with_tensors_is_one_graph_and_equals_eager(graphs):
    compiled = run(adam_with_tensors, STEPS)
    assert graphs() == 1
    eager = run(adam_with_tensors, STEPS, backend=None)
    assert (compiled - eager).abs().max() <= rounding(eager, STEPS)


def sgd_with_tensor_lr(parameters):
    optimizer = torch.optim.SGD(
        groups_of(parameters), lr=torch.tensor(0.1), momentum=0.9, foreach=False
    )
    return optimizer, OneCycleLR(optimizer, 0.01, STEPS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_sgd_with_a_tensor_lr_is_two_graphs_and_equals_eager(graphs):
    compiled = run(sgd_with_tensor_lr, 100)
    assert graphs() <= 2
    eager = run(sgd_with_tensor_lr, 100, backend=None)
    assert (compiled - eager).abs().max() <= rounding(eager, 100)


def nesterov(**arguments):
    def make(parameters):
        optimizer = torch.optim.SGD(
            parameters, lr=torch.tensor(0.1), momentum=0.9, nesterov=True, foreach=False
        )
        return optimizer, OneCycleLR(optimizer, 0.01, 100, **arguments)

    return make


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_compiled_case_that_torch_gets_wrong_is_warned_of(graphs):
    with pytest.warns(UserWarning, match=r"computes wrong updates.*nesterov=False"):
        wrong = run(nesterov(), 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        right = run(nesterov(), 20, backend=None)
        run(nesterov(cycle_momentum=False), 3, backend="eager")
    # When torch gets it right, the warning has had its day.
    assert (wrong - right).abs().max() > 1e-4


def policy_of(cls, names, **options):
    """An optimizer whose lr and betas, if any, are tensors, and a policy of these names."""
    policy = lrsched.Policy(
        lr=lrsched.one_cycle(0.01, STEPS),
        momentum=lrsched.one_cycle_momentum(STEPS),
        weight_decay=lrsched.cosine(0.3, 0.1, STEPS),
        eps=lrsched.exponential(1e-8, 1e-4, STEPS),
    )

    def make(parameters):
        tensors = {"lr": torch.tensor(0.1, dtype=torch.float64)}
        if cls is not torch.optim.SGD:
            tensors["betas"] = tuple(torch.tensor([0.9, 0.99], dtype=torch.float64))
        optimizer = cls(parameters, **{"weight_decay": 0.1, **tensors, **options})
        return optimizer, ScheduleLR(optimizer, policy.only(*names))

    return make


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_adamw_with_a_scheduled_decay_is_two_graphs_and_equals_eager(graphs):
    make = policy_of(torch.optim.AdamW, ["lr", "momentum", "weight_decay", "eps"])
    counts = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        compiled = run(make, 20, "aot_eager", lambda: counts.append(graphs()))
    assert set(counts[2:]) == {2}
    eager = run(make, 20, backend=None)
    assert (compiled - eager).abs().max() <= rounding(eager, 20)


EAGER = {
    "SGD": (policy_of(torch.optim.SGD, ["lr", "weight_decay"]), "a part of the gradient"),
    "Adam": (policy_of(torch.optim.Adam, ["lr", "weight_decay"]), "take AdamW"),
    "a tensor": (
        policy_of(torch.optim.AdamW, ["lr", "weight_decay"], weight_decay=torch.tensor(0.1)),
        "tensor weight_decay eagerly",
    ),
}


@pytest.mark.parametrize("case", EAGER)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_decay_that_is_compiled_anew_for_every_value_is_warned_of(case, graphs):
    make, message = EAGER[case]
    with pytest.warns(UserWarning, match=message):
        run(make, 3, backend="eager")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_decay_of_sgd_is_compiled_anew_for_every_value(graphs):
    """When torch compiles it once, the warning has had its day."""
    with pytest.warns(UserWarning, match="a part of the gradient"):
        run(EAGER["SGD"][0], 4, backend="aot_eager")
    assert graphs() == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device to capture graphs")
def test_a_captured_update_follows_the_schedule():
    def train(capture):
        parameters = weights(2, "cuda")
        gradients = [torch.ones_like(parameter) for parameter in parameters]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer = torch.optim.AdamW(
            groups_of(parameters),
            lr=torch.tensor(0.1, device="cuda"),
            capturable=True,
            foreach=True,
        )
        scheduler = OneCycleLR(optimizer, 0.01, 40, cycle_momentum=False)
        update = optimizer.step
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                update()
                scheduler.step()
        torch.cuda.current_stream().wait_stream(stream)
        if capture:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                update()
            update = graph.replay
        for _ in range(30):
            update()
            scheduler.step()
        assert scheduler.last_epoch == 33
        return torch.cat([parameter.detach() for parameter in parameters])

    plain = train(capture=False)
    assert (train(capture=True) - plain).abs().max() <= rounding(plain, 33)
