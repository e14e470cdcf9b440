"""Names of other packages are answered with ours, and what is no number is told so."""

import ast
import copy
import inspect
import operator
import pickle
import re

import numpy as np
import pytest

import lrsched
from lrsched import _names

LR = np.geomspace(1e-6, 10, 200)
CURVE = lrsched.LossCurve(LR, 1 + 1 / (1 + LR / 1e-3) + LR**2)
FLAT = lrsched.LossCurve(LR, np.ones(200))


@pytest.mark.parametrize(
    ("function", "names"),
    [(lrsched.one_cycle, _names.ONE_CYCLE), (lrsched.RangeTest, _names.RANGE_TEST)],
)
def test_an_argument_of_another_package_is_told_its_name_here(function, names):
    given = {"one_cycle": (0.1, 100), "RangeTest": ()}[function.__name__]
    function(*given)
    options = inspect.signature(function).parameters
    assert len(options) > 4
    for name, ours in names.items():
        assert name not in options
        message = rf"^{function.__name__} has no argument '{name}' \(here: "
        with pytest.raises(TypeError, match=message) as caught:
            function(*given, **{name: 1})
        assert str(caught.value).endswith(f"(here: {ours})")


def test_an_unknown_argument_is_the_error_of_python():
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        lrsched.one_cycle(0.1, 100, foo=1)


@pytest.mark.parametrize(
    ("owner", "names"), [(CURVE, _names.CURVE), (lrsched.RangeTest(), _names.TEST)]
)
def test_an_attribute_of_another_package_is_told_its_name_here(owner, names):
    for name, ours in names.items():
        assert not hasattr(owner, name)
        first = ours.split(" ")[0].split("(")[0]
        place = owner
        for part in first.split("."):
            place = getattr(place, part)
        with pytest.raises(AttributeError, match=rf"no attribute '{name}' \(here: ") as caught:
            getattr(owner, name)
        assert str(caught.value).endswith(f"(here: {ours})")
    with pytest.raises(AttributeError, match=r"no attribute 'foo'$"):
        owner.foo  # noqa: B018


def test_curves_and_tests_can_still_be_copied():
    assert copy.deepcopy(CURVE) == pickle.loads(pickle.dumps(CURVE)) == CURVE
    assert pickle.loads(pickle.dumps(lrsched.RangeTest())).running


USES = {
    "max_lr": lambda value: lrsched.one_cycle(value, 100),
    "value": lambda value: lrsched.constant(value),
    "start_lr": lambda value: lrsched.RangeTest(value),
}


@pytest.mark.parametrize("name", USES)
def test_what_a_range_test_gives_is_no_lr_but_has_one(name):
    found = CURVE.suggest()
    assert found.lr > 0
    with pytest.raises(TypeError, match=rf"{name} must be .*\(pass its lr, {found.lr:.3g}\)"):
        USES[name](found)
    with pytest.raises(TypeError, match=r"\(its lr is None, since the loss .*fallback=\.\.\.\)"):
        USES[name](FLAT.suggest())
    with pytest.raises(TypeError, match=r"\(pass curve.suggest\(\).lr\)"):
        USES[name](CURVE)


def test_no_lr_at_all_is_told_where_the_reason_is():
    with pytest.raises(TypeError, match=r"max_lr must be .*got None .a suggestion without a lr"):
        lrsched.one_cycle(FLAT.suggest().lr, 100)
    with pytest.raises(TypeError, match=r"got None$"):
        lrsched.constant(None)


@pytest.mark.parametrize(
    "use",
    [
        lambda found: found < 0.0,
        lambda found: operator.le(0.0, found),
        lambda found: found / 10,
        lambda found: 0.1 * found,
        float,
    ],
)
def test_a_suggestion_is_not_to_be_calculated_with(use):
    """As optimizers do that check their lr."""
    with pytest.raises(TypeError, match=r"lr must be a number, got a Suggestion .pass its lr"):
        use(CURVE.suggest())


def test_the_page_for_those_who_come_from_another_finder_is_true(repo):
    page = (repo / "docs" / "coming_from.md").read_text(encoding="utf-8")
    options = inspect.signature(lrsched.RangeTest).parameters
    for name in ("start_lr", "end_lr"):
        assert f"`{name}={options[name].default:g}".replace("1e-07", "1e-7") in page
    assert f"`num_steps={options['num_steps'].default}`" in page
    assert f"`stop_factor={options['stop_factor'].default}`" in page
    here = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    for names, ours in (row[:2] for row in here):
        for name in re.findall(r"`(\w+)", names):
            known = _names.FINDER.get(name)
            if known is not None and name != "smooth_f":
                assert re.match(r"\w+", known)[0] in ours, name
    for rule in re.findall(r'(?:method=)?"(\w+_\w+|lightning|ignite)"', page):
        CURVE.suggest(method=rule)


def arguments(repo):
    """The arguments of every public function and class of the adapters, by package and name."""
    found = {"lrsched_torch": {}, "lrsched_tf": {}}
    for package, functions in found.items():
        for path in (repo / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                made = node
                if isinstance(node, ast.ClassDef):
                    made = next(
                        (n for n in node.body if getattr(n, "name", "") == "__init__"), None
                    )
                if isinstance(made, ast.FunctionDef):
                    each = [*made.args.args, *made.args.kwonlyargs]
                    functions.setdefault(node.name, set()).update(a.arg for a in each)
    return found


def test_the_names_that_differ_between_the_halves_are_those_of_the_table(repo):
    page = (repo / "docs" / "keras.md").read_text(encoding="utf-8")
    table = page.split("## Names that differ from PyTorch")[1]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    found, pair = arguments(repo), re.compile(r"`(\w+)\((\w+)=\)`")
    for row in rows:
        for package, cell in zip(found, row[1:3], strict=True):
            for function, argument in pair.findall(cell):
                assert argument in found[package][function], f"{function}({argument}=)"
    for ours, theirs in (("OneCycleLR", "OneCycle"), ("CyclicLR", "CyclicalLR")):
        listed = {
            argument for _, argument in pair.findall("".join(cell for r in rows for cell in r))
        }
        # What a scheduler or callback is about beside its values is each framework's own.
        own = {"self", "optimizer", "after_end", "on_mismatch", "scale_fn", "scale_mode"}
        own |= {"log_batches", "steps_per_epoch"}
        differing = found["lrsched_torch"][ours] ^ found["lrsched_tf"][theirs]
        assert differing - own <= listed | {"warmup"}, differing


def test_a_range_test_has_the_same_arguments_everywhere(repo):
    sweep = {"start_lr", "end_lr", "num_steps", "sweep", "stop_factor"}
    assert sweep <= set(inspect.signature(lrsched.RangeTest).parameters)
    found = arguments(repo)
    for name in ("lr_find", "range_test", "LearningRateFinder"):
        assert sweep <= found["lrsched_torch"][name]
    for name in ("lr_find", "LRFinder"):
        assert sweep <= found["lrsched_tf"][name]
