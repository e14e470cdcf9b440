"""What importing costs and what it offers, in a fresh process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lrsched
import lrsched.compat
import lrsched.schedules

HEAVY = ("torch", "tensorflow", "keras", "jax", "matplotlib", "pandas", "sklearn", "typer", "rich")


def fresh(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def loaded_by(code: str) -> set[str]:
    modules = fresh(f"{code}; import sys; print(*sys.modules)").split()
    return {module.split(".")[0] for module in modules}


def test_importing_the_core_does_not_even_load_numpy():
    assert not loaded_by("import lrsched") & {"numpy", *HEAVY}


def test_using_the_core_loads_no_framework():
    loaded = loaded_by("import lrsched; lrsched.one_cycle(0.1, 100).values()")
    assert "numpy" in loaded
    assert not loaded & set(HEAVY)


def test_a_star_import_brings_every_public_name():
    names = fresh("from lrsched import *; print(*dir())").split()
    assert set(lrsched.__all__) <= set(names)
    assert set(lrsched.__all__) <= set(dir(lrsched))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'onecycle'"):
        lrsched.onecycle  # noqa: B018


def test_the_core_imports_only_numpy_and_itself(repo):
    allowed = {*sys.stdlib_module_names, "numpy", "lrsched"}
    lazy = {"matplotlib", "typer", "rich", "yaml", "tqdm", "sklearn", "mlxtend", "PIL"}
    for path in (repo / "lrsched").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                assert name.split(".")[0] in allowed | lazy, f"{path} imports {name}"


@pytest.mark.parametrize("module", [lrsched, lrsched.schedules, lrsched.compat])
def test_all_is_what_the_module_exports(module):
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("lrsched")
        for alias in node.names
    }
    assert list(module.__all__) == sorted(module.__all__)
    assert imported == set(module.__all__)


@pytest.mark.parametrize("package", ["lrsched", "lrsched_tf", "lrsched_torch"])
def test_every_package_is_typed(repo, package):
    assert (repo / package / "py.typed").exists()


def test_without_matplotlib_the_error_says_what_to_install():
    message = fresh(
        "import sys; sys.modules['matplotlib'] = None; import lrsched\n"
        "try: lrsched.constant(0.1).plot(num_steps=3)\n"
        "except ImportError as error: print(error)"
    )
    assert message == 'plotting needs matplotlib: pip install "onecycle-lr[plot]"'


@pytest.mark.parametrize(
    ("package", "framework", "message"),
    [
        ("lrsched_torch", "torch", 'needs PyTorch: pip install "onecycle-lr[torch]"'),
        ("lrsched_tf", "keras", 'needs Keras: pip install "onecycle-lr[tf]"'),
    ],
)
def test_without_its_framework_an_adapter_says_what_to_install(package, framework, message):
    hidden = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == '{framework}': raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    shown = fresh(f"{hidden}try: import {package}\nexcept ImportError as error: print(error)")
    assert shown == f"{package} {message}"
