"""ignite drives the schedulers, as a plain handler or through its LRScheduler."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("ignite", reason="needs pytorch-ignite, of the integrations extra")

from ignite.engine import Engine, Events
from ignite.handlers import LRScheduler

import lrsched
from lrsched_torch import OneCycleLR

STEPS = 12


def engine():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=STEPS)
    used = []

    def update(engine, batch):
        optimizer.zero_grad()
        weight.sum().backward()
        used.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()

    return Engine(update), scheduler, used


def test_as_a_plain_handler_it_sets_lr_and_momentum():
    trainer, scheduler, used = engine()
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: scheduler.step())
    trainer.run([0] * 6, max_epochs=2)
    momenta = lrsched.one_cycle_momentum(STEPS).values()
    assert used == list(zip(lrsched.one_cycle(0.1, STEPS).values(), momenta, strict=True))


def test_ignites_wrapper_sets_the_lr_and_resumes():
    trainer, scheduler, used = engine()
    wrapper = LRScheduler(scheduler)
    trainer.add_event_handler(Events.ITERATION_STARTED, wrapper)
    trainer.run([0] * 6, max_epochs=1)
    state = wrapper.state_dict()

    trainer, scheduler, rest = engine()
    wrapper = LRScheduler(scheduler)
    wrapper.load_state_dict(state)
    trainer.add_event_handler(Events.ITERATION_STARTED, wrapper)
    trainer.run([0] * 6, max_epochs=1)
    assert [lr for lr, _ in used + rest] == list(lrsched.one_cycle(0.1, STEPS).values())
