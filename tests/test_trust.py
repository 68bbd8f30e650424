"""Nothing is executed that a file names, unless the user names it too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import helpers
import pytest
import torch

from nas_gym import load_child
from nas_gym.child import DESCRIPTION, save_child
from nas_gym.tasks import load_task

SPACE = helpers.Probe((1, 8, 8), 10)
TASK = load_task("digits")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    architecture = SPACE.child("narrow")
    save_child(tmp_path / "child", SPACE.build(architecture), SPACE, architecture, TASK)
    return tmp_path / "child"


def name_space(saved: Path, name: str) -> None:
    file = saved / DESCRIPTION
    description = json.loads(file.read_text(encoding="utf-8"))
    description["search_space"]["name"] = name
    file.write_text(json.dumps(description), encoding="utf-8")


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a mark when it runs, where Python finds it; and the mark."""
    mark = tmp_path / "ran"
    for module in ("evil_module", "folder"):
        code = f"open({str(mark)!r}, 'w').close()\nX = 1\n"
        (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return mark


@pytest.mark.parametrize("name", ["evil_module:X", "folder:X", "evil_module:X.y", "evil_module:"])
def test_a_saved_child_imports_nothing(name: str, saved: Path, evil: Path) -> None:
    name_space(saved, name)
    with pytest.raises(ValueError, match="trust") as caught:
        load_child(saved)
    assert helpers.is_sentence(caught.value, name, name.partition(":")[0])
    with pytest.raises(ValueError, match="trust"):
        load_child(saved, trust=["another_module", "evil"])
    assert not evil.exists()


@pytest.mark.parametrize(
    "arguments",
    [{"trust": ["helpers"]}, {"search_space": helpers.Probe}, {"search_space": SPACE}],
)
def test_a_space_of_ones_own_comes_by_an_argument(
    arguments: dict[str, object], saved: Path
) -> None:
    images = torch.rand(3, 1, 8, 8)
    assert load_child(saved, **arguments)(images).shape == (3, 10)  # type: ignore[arg-type]


def test_the_argument_stands_for_what_the_file_names(saved: Path, evil: Path) -> None:
    name_space(saved, "evil_module:X")
    assert load_child(saved, search_space=helpers.Probe)(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert not evil.exists()


CHILD = """
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from torch import nn
from nas_gym import Decision, SearchSpace, load_child
from nas_gym.child import save_child
from nas_gym.tasks import load_task
from my_space import Dense

space = Dense((1, 8, 8), 10)
architecture = space.decode([0])
if sys.argv[1] == "save":
    save_child(Path("child"), space.build(architecture), space, architecture, load_task("digits"))
else:
    load_child("child", search_space=Dense)
"""
SPACE_CODE = """
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from nas_gym import Decision, SearchSpace

@dataclass(frozen=True)
class Dense(SearchSpace):
    name: ClassVar[str] = "dense"

    @property
    def decisions(self):
        return (Decision("units", (8, 16), "units"),)

    def canonical(self, choices):
        return (choices,)

    def build(self, architecture):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, self.num_classes), nn.ReLU())
"""


def test_a_space_whose_code_has_changed_is_told_when_its_child_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(CHILD, encoding="utf-8")
    space = tmp_path / "my_space.py"

    def run(what: str) -> str:
        command = [sys.executable, "-B", "script.py", what]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stderr

    space.write_text(SPACE_CODE, encoding="utf-8")
    run("save")
    assert run("load") == ""
    space.write_text(f"# a remark\n{SPACE_CODE}", encoding="utf-8")
    assert run("load") == ""
    space.write_text(SPACE_CODE.replace("nn.ReLU", "nn.Tanh"), encoding="utf-8")
    assert "the code of the search space dense is not that which built child" in run("load")
