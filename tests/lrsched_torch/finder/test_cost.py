"""Counts that are the same in every run; times are in benchmarks/range_test.py."""

import runpy
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from torch import nn

from lrsched_torch import range_test
from lrsched_torch.rewind.snapshot import TrainingSnapshot
from tests.lrsched_torch.helpers import OPTIMIZERS, Run, training_after

# Some of these loops make none.
pytestmark = pytest.mark.filterwarnings("ignore:The optimizer of the range test made no update")


@pytest.fixture
def benchmark(repo, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    return runpy.run_path(str(repo / "benchmarks" / "range_test.py"))


@pytest.mark.parametrize("late", [False, True])
def test_a_step_executes_few_bytecodes(benchmark, late):
    criterion = benchmark["LossElsewhere"]() if late else nn.CrossEntropyLoss()
    assert benchmark["extra_opcodes"](criterion) <= benchmark["OPCODE_BOUND"]


def test_the_host_waits_once_for_many_losses(benchmark):
    # as often as it must, or nobody has counted
    assert 200 // 16 <= benchmark["waits"](200) <= 200 // 16 + 2


def test_a_loop_that_reads_each_loss_is_seen_to_wait(benchmark):
    weight = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(weight.parameters(), lr=0.1)
    with (
        benchmark["Waits"]() as seen,
        range_test(weight, optimizer, num_steps=20, stop_factor=None) as test,
    ):
        for x in test.batches([torch.ones(1, 2)]):
            test.record(weight(x).sum().item())
    assert seen.count >= 20


def test_a_snapshot_holds_little_more_than_what_it_keeps(benchmark):
    held, peak = benchmark["memory"]("MLP")
    assert 0.99 <= held <= benchmark["MEMORY_BOUND"]
    assert peak <= benchmark["PEAK_BOUND"]


@pytest.fixture(params=["on the CPU", "elsewhere"])
def placed(request, benchmark):
    """Puts a loss where it is read at once, and where it is read late."""
    late = request.param == "elsewhere"
    return lambda loss: loss.as_subclass(benchmark["Elsewhere"]) if late else loss


def test_the_curve_is_the_same_wherever_the_losses_are(placed):
    run, plain = Run(), Run()
    run.criterion = lambda output, target: placed(plain.criterion(output, target).double())
    assert run.find().loss.tolist() == plain.find().loss.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_a_loss_may_be_written_over_once_it_is_recorded(placed, dtype):
    weight = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(weight.parameters(), lr=0.1)
    loss = torch.zeros((), dtype=dtype)
    with range_test(weight, optimizer, num_steps=20, stop_factor=None) as test:
        for number, _ in enumerate(test.batches([None])):
            test.record(placed(loss.fill_(number)))
    assert test.curve.loss.tolist() == list(range(20))


def test_reading_by_blocks_stops_at_the_step_of_a_check_at_each_step(placed):
    """The loss is NaN, or far too high, at some step; the curve ends there, whatever the block."""
    for bad, value in ((17, torch.nan), (33, 1e9), (30, torch.inf)):
        weight = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(weight.parameters(), lr=0.1)
        made = 0
        with range_test(weight, optimizer, num_steps=60) as test:
            for _ in test.batches([None]):
                made += 1
                # three in a row are a median of five
                test.record(placed(torch.tensor(value if made > bad else 1.0)))
        length = bad + 1 if value != 1e9 else bad + 3
        assert len(test.curve) == length
        assert made < length + 16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
# What torch says of the mode that turns a wait into an error, once.
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
class TestOnCuda:
    """Losses are read 16 at a time, and otherwise the host runs ahead of the device."""

    def make(self):
        run = Run(device="cuda")
        return run, [(x.cuda(), y.cuda()) for x, y in run.loader] * 10

    def test_the_loop_never_waits_between_readings(self):
        run, batches = self.make()
        # What CUDA sets up on first use may wait.
        run.train(epochs=1)
        with range_test(run.model, run.optimizer, num_steps=14, stop_factor=None) as test:
            stream = test.batches(batches)
            torch.cuda.set_sync_debug_mode("error")
            try:
                for _ in range(13):
                    x, y = next(stream)
                    run.optimizer.zero_grad()
                    loss = run.criterion(run.model(x), y)
                    loss.backward()
                    run.optimizer.step()
                    test.record(loss)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert len(test.curve) == 13

    def test_a_loop_that_waits_is_seen(self):
        torch.cuda.set_sync_debug_mode("error")
        try:
            with pytest.raises(RuntimeError, match="synchroniz"):
                torch.ones(1, device="cuda").item()
        finally:
            torch.cuda.set_sync_debug_mode("default")

    @pytest.mark.parametrize("snapshot_device", [None, "cpu"])
    @pytest.mark.parametrize("amp", [None, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_training_after_it_is_bitwise_training_without_it(
        self, optimizer, amp, snapshot_device
    ):
        def find(run):
            assert len(run.find(amp=amp, snapshot_device=snapshot_device)) > 10

        untouched = training_after(lambda run: None, optimizer, device="cuda")
        assert training_after(find, optimizer, device="cuda") == untouched

    def test_copies_on_the_host_take_no_memory_of_the_device(self):
        run, _ = self.make()
        before = torch.cuda.memory_allocated()
        snapshot = TrainingSnapshot(run.model, run.optimizer, device="cpu")
        assert torch.cuda.memory_allocated() == before
        snapshot.restore()
