"""State of the thread and the process."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from lrsched_torch.rewind.snapshot import TrainingSnapshot


def test_grad_mode_and_autocast_that_ctrl_c_has_left_on_are_put_back():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    snapshot = TrainingSnapshot(model, optimizer)
    torch.set_grad_enabled(False)
    torch.autocast("cpu", torch.float16, cache_enabled=False).__enter__()
    snapshot.restore()
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert torch.is_autocast_cache_enabled()
    assert torch.autocast_increment_nesting() == 1
    torch.autocast_decrement_nesting()
    with torch.no_grad():
        TrainingSnapshot(model, optimizer).restore()
        assert not torch.is_grad_enabled()


def test_weights_that_are_put_back_are_cast_anew():
    """Autocast keeps the casts of weights as long as its block lasts."""
    model, x = torch.nn.Linear(2, 1), torch.ones(1, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = torch.autocast("cpu", torch.bfloat16)(model)(x)
    with torch.autocast("cpu", torch.bfloat16):
        snapshot = TrainingSnapshot(model, optimizer)
        with torch.no_grad():
            model.weight.add_(1.0)
        assert model(x) != before
        snapshot.restore()
        assert model(x) == before
