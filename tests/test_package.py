from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import nas_gym

ROOT = Path(nas_gym.__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = ("torch", "torchvision", "stable_baselines3")


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_is_cheap() -> None:
    heavy = f"[name for name in {HEAVY} if name in sys.modules]"
    assert run(f"import sys, nas_gym; print({heavy})") == "[]"
    assert run(f"import sys, nas_gym; nas_gym.Recipe; print({heavy})") == "[]"


@pytest.mark.parametrize("name", nas_gym.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(nas_gym, name) is not None


def test_public_names_are_the_real_ones() -> None:
    """What type checkers see is what there is."""
    tree = ast.parse(Path(nas_gym.__file__).read_text(encoding="utf-8"))
    declared: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nas_gym."):
            declared |= {alias.name: str(node.module) for alias in node.names}
    lazy = set(nas_gym.__all__) - {
        *("BENCHMARKS", "CUSTOM", "ENVIRONMENTS", "__version__", "register_task")
    }
    assert declared.keys() == lazy
    for name, module in declared.items():
        assert getattr(importlib.import_module(module), name) is getattr(nas_gym, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'nas_gym' has no attribute 'Recipes'"):
        _ = nas_gym.Recipes


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(str(node.module).partition(".")[0])
    return found


def test_imports_run_one_way() -> None:
    files = sorted((ROOT / "nas_gym").rglob("*.py"))
    assert len(files) > 20
    for file in files:
        assert not imported(file) & {"agents", "benchmarks", "tests", "stable_baselines3"}, file


def test_modules_import_in_one_direction() -> None:
    """Spaces and tasks know nothing of training, training nothing of evaluators, and so on up."""
    rank = {"search_spaces": 1, "tasks": 1, "training": 2, "evaluators": 3, "env": 4}
    rank |= {"vector_env": 5, "tables": 6}
    for file in sorted((ROOT / "nas_gym").rglob("*.py")):
        own = rank.get(file.relative_to(ROOT / "nas_gym").parts[0].removesuffix(".py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if own is not None and isinstance(node, ast.ImportFrom):
                other = (f"{node.module}..").split(".")[1]
                assert rank.get(other, 0) <= own, f"{file} imports {node.module}"


@pytest.mark.parametrize("package", ["nas_gym", "agents"])
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_the_version_is_one() -> None:
    assert nas_gym.__version__ == PROJECT["version"]


def test_the_digits_and_their_licence_are_in_the_package() -> None:
    data = ROOT / "nas_gym" / "tasks" / "data"
    assert (data / "digits.csv.gz").is_file()
    licence = (data / "LICENSE-digits.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in licence
    assert "Alpaydin" in licence
    assert str((data / "LICENSE-digits.md").relative_to(ROOT)) in PROJECT["license-files"]


def test_the_wheel_holds_the_two_packages_and_nothing_else(tmp_path: Path) -> None:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("needs hatchling, which builds the wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    info = f"nas_gym-{nas_gym.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"nas_gym", "agents", info}
    for name in (
        "nas_gym/tasks/data/digits.csv.gz",
        "nas_gym/py.typed",
        "agents/py.typed",
        f"{info}/licenses/LICENSE",
        f"{info}/licenses/nas_gym/tasks/data/LICENSE-digits.md",
        f"{info}/entry_points.txt",
    ):
        assert name in names
    assert not [name for name in names if name.endswith((".pyc", ".pt", ".db"))]
