"""The demo's own code on the real digits, one short epoch, each framework in its own process."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn for its digits")

from lrsched import demo

SHORT = """
import json
from dataclasses import asdict, replace
from lrsched import demo
demo.SEEDS, demo.BATCH_SIZE, demo.SWEEP_STEPS = (0, 1), 64, 100
from {module} import measure_all
data = replace(demo.digits(), epochs=1)
print(json.dumps(asdict(measure_all(data))))
"""


@pytest.fixture(scope="module", params=demo.FRAMEWORKS)
def report(request):
    if find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}, which is not installed")
    code = SHORT.format(module=demo.FRAMEWORKS[request.param][1])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout.splitlines()[-1])
    outcomes = [demo.Outcome(**outcome) for outcome in fields.pop("outcomes")]
    return demo.Report(**fields, outcomes=outcomes)


def test_both_schedules_learn_the_digits(report):
    assert {o.schedule for o in report.outcomes} == set(demo.SCHEDULES)
    for outcome in report.outcomes:
        assert outcome.val_accuracy > 0.5
        assert outcome.val_loss < 2.3


def test_the_suggestions_are_those_of_its_curve(report):
    from lrsched import LossCurve

    curve = LossCurve.from_json(report.curve)
    for schedule, lr in report.lrs.items():
        assert lr == curve.suggest(schedule=schedule).lr


def test_it_is_shown_as_a_table_and_a_plot(report, tmp_path):
    rich = pytest.importorskip("rich.console", reason="needs rich, of the cli extra")
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    console = rich.Console(width=80, record=True, file=io.StringIO())
    slow = [replace(outcome, seconds=1234.5) for outcome in report.outcomes]
    console.print(demo.table(replace(report, outcomes=slow)))
    text = console.export_text()
    assert "1cycle" in text
    assert "val accuracy" in text
    assert "…" not in text
    assert demo.save_plot(report, tmp_path).read_bytes().startswith(b"\x89PNG")


def test_a_sweep_without_descent_is_an_error():
    from lrsched import LossCurve

    flat = LossCurve(demo.np.geomspace(1e-7, 10, 50), demo.np.random.default_rng(0).normal(size=50))
    with pytest.raises(RuntimeError, match="found no learning rate"):
        demo.measure("any", demo.digits(), lambda: flat, lambda *_: (0.0, 0.0, 0.0))
