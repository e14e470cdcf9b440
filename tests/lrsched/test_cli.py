"""The `lrsched` command, as a user types it."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("typer", reason="needs typer, of the cli extra")

from typer.testing import CliRunner

import lrsched
from lrsched.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def curve():
    test = lrsched.RangeTest(start_lr=1e-5, end_lr=10.0, num_steps=200)
    noise = np.random.default_rng(0).normal(0, 0.01, 200)
    for lr, e in zip(test.planned_lr, noise, strict=True):
        if not test.record(1 / (1 + (lr / 0.01) ** 2) + (lr / 0.5) ** 3 + e):
            break
    return test.curve


def test_help_teaches_every_command():
    commands = {"compare", "plot", "values", "suggest"}
    assert {"demo", *commands} <= set(run("--help").output.split())
    for command in commands:
        assert "Example:" in run(command, "--help").output


def test_values_are_those_of_the_schedule():
    result = run("values", "one_cycle", "max_lr=1e-1", "total_steps=20", "anneal=linear")
    head, *rows = result.output.splitlines()
    assert head == "step,value"
    expected = lrsched.one_cycle(0.1, 20, anneal="linear").values().tolist()
    assert rows == [f"{step},{value!r}" for step, value in enumerate(expected)]


def test_an_endless_schedule_needs_a_length():
    assert "num_steps must be given" in run("values", "constant", "value=0.1").output
    assert run("values", "constant", "value=0.1", "--num-steps", 2).output == (
        "step,value\n0,0.1\n1,0.1\n"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("schedule.yaml", "one_cycle: {max_lr: 0.1, total_steps: 100}"),
        ("schedule.json", '{"one_cycle": {"max_lr": 0.1, "total_steps": 100}}'),
    ],
)
def test_a_file_is_a_schedule_too(tmp_path, name, text):
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    path, out = tmp_path / name, tmp_path / "plot.png"
    path.write_text(text)
    result = run("plot", path, "--out", out)
    assert result.exit_code == 0
    assert repr(lrsched.one_cycle(0.1, 100)) in result.output
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", ["csv", "json"])
# With a byte order mark, as Windows writes it, and without.
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_suggest_reads_a_curve(tmp_path, curve, suffix, encoding):
    path = tmp_path / f"curve.{suffix}"
    path.write_text(curve.to_csv() if suffix == "csv" else curve.to_json(), encoding=encoding)
    if suffix == "csv":  # which does not say how many steps were planned
        curve = lrsched.LossCurve.from_csv(curve.to_csv())
    assert run("suggest", path).output.strip() == str(curve.suggest())
    constant = run("suggest", path, "--schedule", "constant").output.strip()
    assert constant == str(curve.suggest(schedule="constant"))
    peer = run("suggest", path, "--method", "fastai_valley").output.strip()
    assert peer == str(curve.suggest(method="fastai_valley"))
    assert set(curve.suggestions()) <= set(run("suggest", path, "--all").output.split())


def test_suggest_takes_one_method_or_all(tmp_path, curve):
    path = tmp_path / "curve.csv"
    path.write_text(curve.to_csv())
    result = run("suggest", path, "--all", "--method", "valley")
    assert result.exit_code == 2
    assert "error: --all must not come with --method, got 'valley' too" in result.output


@pytest.fixture
def rising(tmp_path):
    """A range test whose loss only rises, and its file."""
    lr = np.geomspace(1e-6, 10, 200)
    noise = np.random.default_rng(0).normal(0, 1e-3, 200)
    found = lrsched.LossCurve(lr, 0.2 + np.minimum((lr / 0.1) ** 2, 5) + noise)
    path = tmp_path / "rising.json"
    path.write_text(found.to_json())
    return found, path


@pytest.mark.parametrize(("answer", "pretrained"), [("yes", True), ("no", False)])
@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_who_says_whether_the_model_is_trained_gets_a_guess(rising, answer, pretrained, schedule):
    curve, path = rising
    asked = ("--schedule", schedule, "--pretrained", answer)
    found = curve.suggest(schedule=schedule, pretrained=pretrained)
    assert found.method == "guess"
    for options in ((), ("--method", "plateau")):
        assert run("suggest", path, *asked, *options).output.strip() == str(found)
    assert "fresh" in run("suggest", path).output
    (row, *_) = run("suggest", path, *asked, "--all").output.splitlines()
    assert row.split() == ["plateau", f"{found.lr:.3g}"]
    table = run("compare", path, *asked, "--terminal").output
    rows = [line.split() for line in table.splitlines()]
    assert [row[1] for row in rows if row[:1] == ["rising"]] == [f"{found.lr:.3g}"]


def test_a_peers_rule_does_not_ask_whether_the_model_is_trained(rising):
    result = run("suggest", rising[1], "--pretrained", "no", "--method", "valley")
    assert result.exit_code == 2
    assert "error: --pretrained must not come with --method valley" in result.output
    assert run("suggest", rising[1], "--pretrained", "maybe").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("values", "onecycle"), "schedule name must be one of"),
        (("values", "one_cycle", "max_lr"), "an argument must be NAME=VALUE, got 'max_lr'"),
        (("values", "one_cycle", "max_lr=-1", "total_steps=9"), "max_lr must be > 0"),
        (("values", "one_cycle", "peak=1"), "unexpected keyword argument 'peak'"),
        (("values", "one_cycle", "max_lr=1", "max_lr=2"), "given once, got"),
        (("values", "one_cycle", "max_lr=[1"), "expected ',' or ']'"),
        (("values", "linear", "start=1", "end=0", f"total_steps={10**18}"), "at most 10,000,000"),
        (("values", "constant", "value=1", "--num-steps", 10**8), "at most 10,000,000"),
        (("values", "constant", f"value={'9' * 5000}"), "error: "),
        (("values", "constant", "value=" + "[" * 5000), "error: YAML must be nested"),
        (("values", "constant", "value=0001-01-01T00:00:00+23:00"), "error: "),
        (("values", "onecycle"), "(did you mean 'one_cycle'?)"),
        (("values", "one_cycle", "max_l=1", "total_steps=9"), "(did you mean 'max_lr'?)"),
        (("plot", "absent.yaml"), "absent.yaml cannot be used: No such file"),
        (("suggest", "absent.csv"), "absent.csv cannot be used: No such file"),
        (("suggest", "absent.csv", "--method", "fastai_valey"), "absent.csv cannot be used"),
        (("compare", "absent.csv", "b.csv"), "absent.csv cannot be used: No such file"),
        (("demo", "--out", __file__), "cannot be used: File exists"),
        (
            ("plot", "constant", "value=1", "--num-steps", 2, "--terminal", "--out", "a.png"),
            "--out must not come with --terminal, got a.png too",
        ),
    ],
)
def test_errors_are_a_sentence_and_an_exit_code(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.startswith("error: ")
    assert len(result.output.splitlines()) == 1
    assert "Errno" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"", "a.json must hold JSON as LossCurve.to_json writes it: Expecting value"),
        ("A.JSON", b"lr,loss", "must hold JSON"),
        ("a.csv", b"\x00\xff\x89PNG", "a.csv must hold CSV with columns lr and loss"),
        ("a.csv", b'{"lr": [1, 2], "loss": [' + b"1.0, " * 2000 + b"]}", "must have a header"),
    ],
)
def test_a_file_that_holds_no_curve_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    result = run("suggest", path)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output) < 400


def test_the_version_is_that_of_the_package():
    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"onecycle-lr {lrsched.__version__}\n")


@pytest.fixture
def two_curves(tmp_path, curve):
    """The names of two range tests, of which the second has no descent."""
    names = tmp_path / "adam.csv", tmp_path / "flat.json"
    names[0].write_text(curve.to_csv())
    names[1].write_text(lrsched.LossCurve(curve.lr, np.ones(len(curve))).to_json())
    return names


def test_compare_overlays_its_curves_and_lists_them(two_curves, curve, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    out = tmp_path / "both.png"
    result = run("compare", *two_curves, "--out", out)
    assert result.exit_code == 0, result.output
    rows = {row.split()[0]: row for row in result.output.splitlines() if row.strip()}
    assert f"{curve.suggest().lr:.3g}" in rows["adam"]
    assert "none" in rows["flat"]
    assert "never fell" in rows["flat"]
    assert out.read_bytes().startswith(b"\x89PNG")
    constant = run("compare", *two_curves, "--schedule", "constant", "--out", out).output
    assert f"{curve.suggest(schedule='constant').lr:.3g}" in constant


@pytest.mark.parametrize("options", [("--terminal",), ()])
def test_without_matplotlib_the_terminal_shows_the_plot(options, two_curves, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if not options:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    for command in (
        ("compare", *two_curves),
        ("plot", "one_cycle", "max_lr=0.1", "total_steps=100"),
    ):
        result = run(*command, *options)
        assert result.exit_code == 0, result.output
        assert ('pip install "onecycle-lr[plot]"' in result.output) == (not options)
        drawn = [line for line in result.output.splitlines() if "|" in line]
        assert len(drawn) == 14
        assert {chr(0x2800), " "} < set("".join(drawn))
    assert not [*tmp_path.glob("*.png")]


def test_a_schedule_in_a_file_may_have_numbers_without_a_dot(tmp_path):
    path = tmp_path / "schedule.yaml"
    path.write_text("cosine: {start: 1e-1, end: 0, total_steps: 3}")
    result = run("values", path)
    assert result.output.splitlines()[1] == "0,0.1"
    assert result.exit_code == 0


def test_without_its_libraries_the_command_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; from lrsched.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        'the lrsched command needs typer: pip install "onecycle-lr[cli]"'
    )


def test_python_m_is_the_command():
    command = [sys.executable, "-m", "lrsched", "values", "constant", "value=1", "--num-steps=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "step,value\n0,1.0\n"


ALIASES = "\n".join(
    [
        "- &a0 {constant: {value: 0.1}}",
        *(f"- &a{k + 1} [{', '.join([f'*a{k}'] * 9)}]" for k in range(9)),
    ]
)
MERGES = "\n".join(
    [
        "k0: &m0 {a: 1, b: 2}",
        *(f"k{k + 1}: &m{k + 1} {{<<: [{', '.join([f'*m{k}'] * 9)}]}}" for k in range(9)),
    ]
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", ALIASES, "config must be from 1 to 262144 segments"),
        ("a.yaml", MERGES, "a YAML mapping must have at most 1000 entries"),
        ("a.yaml", "&a [*a]", "nested at most 20 levels deep"),
        ("a.yaml", "- &a {constant: {value: 1}}\n" + "- *a\n" * 1001, "at most 1000 aliases"),
        ("a.yaml", "[" * 10_000, "YAML must be nested"),
        ("a.yaml", "{a: b: c}", "YAML must be readable"),
        ("a.json", "[" * 100_000, "JSON must be nested"),
        ("a.yaml", "linear: " + "x" * 100_000, "the arguments of linear must be a mapping"),
    ],
)
def test_a_file_of_anybody_ends_in_one_sentence(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    result = run("values", path)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output) < 500


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_plot_replaces_its_own_file_and_no_other(tmp_path, suffix):
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    out = tmp_path / f"a.{suffix}"
    command = ("plot", "linear", "start=0.1", "end=0", "total_steps=9", "--out", out)
    assert run(*command).exit_code == run(*command).exit_code == 0
    out.write_text("of somebody else")
    result = run(*command)
    assert (result.exit_code, out.read_text()) == (2, "of somebody else")
    assert "--force replaces it" in result.output
    assert run(*command, "--force").exit_code == 0


POLICY = """
lr: {warmup_cosine: {max_lr: 0.1, warmup_steps: 1ep, total_steps: 1dur}}
weight_decay: {cosine: {start: 0.1, end: 0.0, total_steps: 1dur}}
"""


def test_a_policy_has_a_column_and_an_axis_for_each_name(tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib, of the plot extra")
    path, plot = tmp_path / "policy.yaml", tmp_path / "policy.svg"
    path.write_text(POLICY)
    length = ("--steps-per-epoch", 5, "--epochs", 4)
    head, *rows = run("values", path, *length).output.splitlines()
    assert head == "step,lr,weight_decay"
    lr = lrsched.warmup_cosine(0.1, warmup_steps=5, total_steps=20)
    decay = lrsched.cosine(0.1, 0.0, 20)
    expected = zip(range(20), lr.values().tolist(), decay.values().tolist(), strict=True)
    assert rows == [f"{step},{a!r},{b!r}" for step, a, b in expected]
    assert f"plot: {plot}" in run("plot", path, *length, "--out", plot).output
    assert plot.exists()


def test_units_need_the_length_that_they_are_of():
    arguments = ("base_lr=0.1", "step_size=2ep")
    assert "where steps_per_epoch is not given" in run("values", "step_decay", *arguments).output
    given = ("--steps-per-epoch", 2, "--num-steps", 5)
    assert run("values", "step_decay", *arguments, *given).output.splitlines()[-1].startswith("4,")
