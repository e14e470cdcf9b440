"""The demo's own code on the real digits, one short epoch, each framework in its own process."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn for its digits")

from lrsched import demo
from lrsched._startup_lines import run_without_startup_lines

SHORT = """
import runpy, sys
from dataclasses import replace
from lrsched import demo
demo.SEEDS, demo.BATCH_SIZE, demo.SWEEP_STEPS = (0, 1), 64, 100
short = [replace(demo.settings()[0], epochs=1)]
demo.settings = lambda: short
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=False)
"""


@pytest.fixture(scope="module", params=demo.FRAMEWORKS)
def report(request, tmp_path_factory):
    if find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}, which is not installed")
    path = tmp_path_factory.mktemp("demo") / "reports.jsonl"
    part = json.dumps({"name": "demo", "record": str(path)})
    command = [sys.executable, "-c", SHORT, demo.FRAMEWORKS[request.param].module, part]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fields = json.loads(path.read_text())
    outcomes = [demo.Outcome(**outcome) for outcome in fields.pop("outcomes")]
    return demo.Report(**fields, outcomes=outcomes)


def test_both_schedules_learn_the_digits(report):
    assert {o.schedule for o in report.outcomes} == set(demo.SCHEDULES)
    for outcome in report.outcomes:
        assert outcome.val_accuracy > 0.5
        assert outcome.val_loss < 2.3


def test_the_suggestions_are_those_of_its_curve(report):
    from lrsched import LossCurve, two_speed_sweep

    curve = LossCurve.from_json(report.curve)
    for schedule, lr in report.lrs.items():
        assert lr == curve.suggest(schedule=schedule).lr
    sweep = two_speed_sweep(1e-7, 10.0, 100).values()
    np.testing.assert_allclose(curve.lr, sweep[: len(curve)], rtol=1e-6)


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
    path = demo.save_plot(report, tmp_path)
    assert drawn_and_stored(path) == (report.framework, demo.texts(demo.draw(report)))


def drawn_and_stored(path):
    """The framework and the texts that the picture of a demo keeps as data."""
    text = pytest.importorskip("PIL.Image", reason="needs Pillow").open(path).text
    return json.loads(text["Report"])["framework"], json.loads(text["Texts"])


def test_the_picture_of_the_readme_has_the_texts_that_its_report_is_drawn_with(repo):
    """If not, `make overview` draws it anew."""
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    path = repo / "docs" / "overview.png"
    stored = pytest.importorskip("PIL.Image", reason="needs Pillow").open(path).text
    report = demo.Report(**json.loads(stored["Report"]))
    assert json.loads(stored["Texts"]) == demo.texts(demo.draw(report))
    assert report.framework.startswith("PyTorch")
    assert report.data == "MNIST-5k"


CHATTY = """
import sys
sys.stderr.write("WARNING: All log messages before absl::InitializeLog() is called are here\\n")
sys.stderr.write("I0000 00:00:1795.46 12681 port.cc:153] oneDNN custom operations are on.\\n")
sys.stderr.write("2025-01-01 00:00:00.123456: I tensorflow/core/util/port.cc:113] oneDNN\\n")
sys.stderr.write("To enable the following instructions: AVX2, in other operations\\n")
sys.stderr.write("E0000 00:00:1795.46 cuda.cc:1] Unable to register cuDNN factory\\n")
sys.stderr.write("\\r 10%|#   |"); sys.stderr.flush()
sys.stderr.write("\\r 20%|##  |\\n"); sys.stderr.flush()
sys.stderr.write("E0000 00:00:1795.46 xla.cc:1] out of memory\\n")
raise SystemExit("Traceback is kept")
"""


def test_the_lines_that_tensorflow_begins_with_are_left_out_and_errors_are_not(capsys):
    command = [sys.executable, "-c", CHATTY]
    assert run_without_startup_lines(command, dict(os.environ)) == 1
    expected = "\r 10%|#   |\r 20%|##  |\nE0000 00:00:1795.46 xla.cc:1] out of memory\n"
    assert capsys.readouterr().err == f"{expected}Traceback is kept\n"


def test_a_sweep_without_descent_is_an_error():
    from lrsched import LossCurve

    flat = LossCurve(demo.np.geomspace(1e-7, 10, 50), demo.np.random.default_rng(0).normal(size=50))
    loop = SimpleNamespace(software="any", find=lambda *_: flat)
    with pytest.raises(RuntimeError, match="found no learning rate"):
        demo.measure(demo.settings()[0], loop)
