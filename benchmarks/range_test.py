"""What an LR range test of 100 steps costs in PyTorch, as ratios to the bare training loop.

    python benchmarks/range_test.py            # times, bytecodes, waits and memory
    python benchmarks/range_test.py --counts   # what is the same in every run

The bare loop writes no lr and never reads its loss; it is there twice, to show what the noise alone
does. All of a call is timed: what it keeps, checks and puts back too. It has the model of the bare
loop, since where the weights lie in memory makes a difference of its own; for the same reason there
are several processes. Peers come after, with models of their own and their defaults, and are left
out where they are not installed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parent))
from counts import Elsewhere, Waits, opcodes
from processes import answer, answers, arguments
from timing import Times, compare, measure, pool

from lrsched_torch import lr_find
from lrsched_torch.rewind.snapshot import TrainingSnapshot as Snapshot

STEPS = 100
# In each process. A call on the MLP takes a quarter of a second, and single ones differ by a tenth:
# it takes hundreds to know their median to half a percent.
ROUNDS, PEER_ROUNDS = {"MLP": 200, "CNN": 3}, 3
# Has glibc keep what is freed. When it gives memory back to the system is a matter of luck, and to
# get it again takes much of a call on the CNN, of the bare loop as of ours.
KEEPING = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
# Of the median ratio to the bare loop.
BOUNDS = {"MLP": 1.05, "CNN": 1.03}
OPCODE_BOUND = 150
MEMORY_BOUND, PEAK_BOUND = 1.05, 1.10
# That of the peers.
SWEEP: dict[str, Any] = {"start_lr": 1e-5, "end_lr": 0.01, "sweep": "exponential"}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Task:
    """A model, its optimizer, and as many batches as steps."""

    def __init__(self, kind: str, device: str = "cpu") -> None:
        torch.manual_seed(0)
        images = torch.randn(STEPS, 64, 1, 28, 28).to(device)
        labels = torch.randint(10, (STEPS, 64)).to(device)
        self.batches = list(zip(images, labels, strict=True))
        # what the peers take; costs no more than the list
        self.loader: Any = torch.utils.data.DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]
        model = nn.Sequential(nn.Flatten(), *_mlp()) if kind == "MLP" else _cnn()
        self.model = model.to(device)
        # The end of a loop that never waits is when the device has done its part.
        self.finish = torch.cuda.synchronize if device == "cuda" else lambda: None
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-5, momentum=0.9)
        self.criterion: nn.Module = nn.CrossEntropyLoss()

    def bare(self) -> None:
        for inputs, target in self.batches:
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(inputs), target)
            loss.backward()
            self.optimizer.step()
        self.finish()

    def ours(self, **options: Any) -> None:
        arguments = (self.model, self.optimizer, self.criterion, self.batches)
        lr_find(*arguments, num_steps=STEPS, **SWEEP, **options)
        self.finish()


class LossElsewhere(nn.CrossEntropyLoss):
    """Gives losses that are read as those on another device."""

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        return super().forward(outputs, target).as_subclass(Elsewhere)


def _mlp() -> list[nn.Module]:
    widths = (784, 256, 256, 10)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers[:-1]


def _cnn() -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 16), *block(16, 32), nn.Flatten(), nn.Linear(32 * 49, 10))


def torch_lr_finder(task: Task) -> None:
    from torch_lr_finder import LRFinder

    for group in task.optimizer.param_groups:
        group.pop("initial_lr", None)
    finder = LRFinder(task.model, task.optimizer, task.criterion)
    finder.range_test(task.loader, end_lr=SWEEP["end_lr"], num_iter=STEPS, diverge_th=float("inf"))
    finder.reset()


def ignite(task: Task) -> None:
    from ignite.engine import create_supervised_trainer
    from ignite.handlers import FastaiLRFinder

    trainer = create_supervised_trainer(task.model, task.optimizer, task.criterion)
    kept = {"model": task.model, "optimizer": task.optimizer}
    finder = FastaiLRFinder()
    settings = {"end_lr": SWEEP["end_lr"], "num_iter": STEPS, "diverge_th": float("inf")}
    with finder.attach(trainer, to_save=kept, **settings) as attached:
        attached.run(task.batches)


def lightning(task: Task) -> None:
    import lightning.pytorch as pl
    from lightning.pytorch.tuner import Tuner

    class Module(pl.LightningModule):
        lr = 1e-5

        def __init__(self) -> None:
            super().__init__()
            self.inner = task.model

        def training_step(self, batch: Any, index: int) -> Tensor:
            return task.criterion(self.inner(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

    trainer = pl.Trainer(
        accelerator=DEVICE,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tempfile.mkdtemp(),
    )
    settings = {"num_training": STEPS, "max_lr": SWEEP["end_lr"], "early_stop_threshold": None}
    Tuner(trainer).lr_find(Module(), task.loader, **settings)


PEERS = {"torch_lr_finder": torch_lr_finder, "ignite": ignite, "lightning": lightning}


def quiet(call: Callable[[Task], None], task: Task) -> Callable[[], None]:
    """A peer without its progress bars and its log."""

    def run() -> None:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            call(task)
            task.finish()

    return run


def measured(kind: str, rounds: int) -> dict[str, Times]:
    """The times of our calls, and of those of the peers."""
    torch.set_num_threads(1)
    silence()
    task = Task(kind, DEVICE)
    ours = {"bare loop": task.bare, "bare loop, again": task.bare, "ours": task.ours}
    peers = {
        name: quiet(call, Task(kind, DEVICE)) for name, call in PEERS.items() if find_spec(name)
    }
    return {
        "ours": measure(ours, rounds),
        "peers": measure({"bare loop": task.bare, **peers}, min(rounds, PEER_ROUNDS)),
    }


def silence() -> None:
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning", "ignite"):
        logging.getLogger(name).setLevel(logging.ERROR)


def show(kind: str, found: list[dict[str, Times]]) -> None:
    for part in ("ours", "peers"):
        for name, ratio in compare(pool(one[part] for one in found), "bare loop").items():
            goal = f"{BOUNDS[kind]:.2f}" if name == "ours" else "    "
            print(f"{kind:<5} {name:<16} {goal}  {ratio}", flush=True)


def extra_opcodes(criterion: nn.Module, steps: int = STEPS) -> float:
    """Bytecodes of `lr_find` for a further step, above those of the bare loop."""
    task = Task("MLP")
    task.criterion = criterion
    arguments = (task.model, task.optimizer, task.criterion, task.batches)

    def find(count: int) -> float:
        return opcodes(lambda: lr_find(*arguments, num_steps=count, **SWEEP))

    few = steps // 2
    return (find(steps) - find(few)) / (steps - few) - opcodes(task.bare) / STEPS


def waits(steps: int = STEPS) -> int:
    """How often the host waits for the value of a tensor in one call, with losses on a device."""
    task = Task("MLP")
    task.criterion = LossElsewhere()
    with Waits() as seen:
        lr_find(
            *(task.model, task.optimizer, task.criterion, task.batches),
            num_steps=steps,
            stop_factor=None,
            **SWEEP,
        )
    return seen.count


def memory(kind: str) -> tuple[float, float]:
    """Bytes that a snapshot holds, and the most while it is put back, over those of what it keeps.

    That is parameters, buffers and the state that the optimizer has.
    """
    task = Task(kind)
    task.bare()
    task.optimizer.zero_grad()
    state = [v for s in task.optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
    kept = [*task.model.parameters(), *task.model.buffers(), *state]
    live = sum(tensor.nbytes for tensor in kept)
    snapshots: list[Snapshot] = []
    held, _ = allocated(lambda: snapshots.append(Snapshot(task.model, task.optimizer)))
    _, peak = allocated(snapshots[0].restore)
    return held / live, (held + peak) / live


def allocated(call: Callable[[], object]) -> tuple[int, int]:
    """Bytes of tensors that a call has left behind, and the most there were of its own."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    total = peak = 0
    for event in sorted(seen.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            total += event.nbytes()
            peak = max(peak, total)
    return total, peak


def counts() -> None:
    for place, criterion in (("the CPU", nn.CrossEntropyLoss()), ("a device", LossElsewhere())):
        found = f"{extra_opcodes(criterion):.0f} (bound {OPCODE_BOUND})"
        print(f"bytecodes per step above the bare loop, losses on {place}: {found}")
    print(f"waits for the device in {STEPS} steps: {waits()} (bound {STEPS // 16 + 2})")
    for kind in BOUNDS:
        held, peak = memory(kind)
        print(
            f"memory of a snapshot of the {kind}: {held:.3f} of what it keeps "
            f"(bound {MEMORY_BOUND}), {peak:.3f} while it is put back (bound {PEAK_BOUND})"
        )


def main() -> None:
    parser = arguments(__doc__, BOUNDS, rounds=0)
    parser.add_argument("--counts", action="store_true")
    asked = parser.parse_args()
    if asked.in_process:
        answer(measured(asked.in_process, asked.rounds or ROUNDS[asked.in_process]))
    torch.set_num_threads(1)
    counts()
    if asked.counts:
        return
    print(f"an LR range test of {STEPS} steps over the bare loop, on {DEVICE}")
    for kind in asked.only or BOUNDS:
        show(kind, answers(__file__, kind, asked, KEEPING))


if __name__ == "__main__":
    main()
