"""Code of one's own that has changed is told, and never answered from old records."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas_gym.tasks

FILES = {
    "my_space.py": """
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from nas_gym import Decision, SearchSpace
from my_layers.hidden import hidden


@dataclass(frozen=True)
class Dense(SearchSpace):
    name: ClassVar[str] = "dense"

    @property
    def decisions(self):
        return (Decision("units", (4, 8, 16, 32, 64, 128), "units"),)

    def canonical(self, choices):
        return (choices,)

    def build(self, architecture):
        import my_last  # not before it is needed

        units = architecture.layers[0][0]
        return nn.Sequential(*hidden(64, units), my_last.last(units, self.num_classes))
""",
    "my_layers/__init__.py": "",
    "my_layers/hidden.py": """
from torch import nn
from . import activation


def hidden(size, units):
    return nn.Flatten(), nn.Linear(size, units), activation.make()
""",
    "my_layers/activation.py": "from torch import nn\n\n\ndef make():\n    return nn.ReLU()\n",
    "my_last.py": "from torch import nn\n\n\ndef last(*sizes):\n    return nn.Linear(*sizes)\n",
    "my_reward.py": "def reward(evaluation):\n    return evaluation.scores['accuracy']\n",
    "my_agent.py": """
class First:
    def __init__(self, env, seed=0):
        self.env = env

    def learn(self, budget):
        for number in range(6):
            self.env.reset()
            self.env.step(number)
""",
    "my_task.py": """
import torch
from nas_gym import Recipe, Task


def noise(data_dir):
    labels = torch.arange(120) % 2
    images = torch.arange(120 * 64).reshape(120, 1, 8, 8).remainder(251) / 251.0
    images[labels == 1] += 0.5
    return Task.from_tensors("noise", images, labels, recipe=Recipe(epochs=1, batch_size=32))
""",
}

# What leaves a mark when it runs.
MARKS = {name: f"open('ran-{name[:-3]}', 'w').close()\n" for name in FILES if "/" not in name}

SEARCH = ["search", "--task", "my_task:noise", "--search-space", "my_space:Dense", "--reward"]
SEARCH += ["my_reward:reward", "--agent", "my_agent:First", "--workers", "1", "--budget", "2"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", "-m", "agents", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write(folder, FILES)
    done = run(folder, *SEARCH, "--out", "r")
    assert done.returncode == 0, done.stderr
    assert "retrain r --trust my_task my_space my_reward" in done.stdout
    return folder


@pytest.fixture
def here(searched: Path, tmp_path: Path) -> Path:
    shutil.copytree(searched, tmp_path / "here")
    return tmp_path / "here"


CHANGES = {
    "search space": (
        "my_space.py",
        "nn.Sequential(*hidden(64, units)",
        "nn.Sequential(*hidden(64, units), nn.Tanh()",
    ),
    "search space, by a module that it imports": (
        "my_layers/hidden.py",
        "nn.Flatten()",
        "nn.Flatten(), nn.Tanh()",
    ),
    "search space, by an import's import": ("my_layers/activation.py", "ReLU", "GELU"),
    "search space, by a late import": (
        "my_last.py",
        "nn.Linear(*sizes)",
        "nn.Linear(*sizes, bias=False)",
    ),
    "reward": ("my_reward.py", "['accuracy']", "['accuracy'] / 2"),
    "agent": ("my_agent.py", "range(6)", "range(5)"),
    "task": ("my_task.py", "251", "241"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_run_does_not_go_on_with_other_code(what: str, here: Path) -> None:
    file, old, new = CHANGES[what]
    write(here, {file: FILES[file].replace(old, new)})
    before = (here / "r" / "evaluations.csv").read_bytes()
    done = run(here, *SEARCH, "--out", "r", "--budget", "3")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"the code of its {what.partition(',')[0]} has changed" in done.stderr
    assert (here / "r" / "evaluations.csv").read_bytes() == before


def test_what_only_reads_otherwise_is_the_same_code(here: Path) -> None:
    for name, text in FILES.items():
        write(here, {name: f'"""Words."""\n# a remark\n\n\n{text}'})
    done = run(here, *SEARCH, "--out", "r", "--budget", "3")
    assert done.returncode == 0, done.stderr
    assert "resumed, 2 distinct children" in done.stdout


def test_a_store_answers_only_the_code_that_it_was_filled_by(here: Path) -> None:
    again = [*SEARCH, "--store", "r/store.sqlite"]
    assert "2 recalled" in run(here, *again, "--out", "same").stdout
    file, old, new = CHANGES["search space, by an import's import"]
    write(here, {file: FILES[file].replace(old, new)})
    done = run(here, *again, "--out", "other")
    assert done.returncode == 0, done.stderr
    assert "recalled" not in done.stdout


def test_another_network_is_not_retrained(here: Path) -> None:
    quick = ["retrain", "r", "--seeds", "1", "--epochs", "1", "--workers", "1", "--trust"]
    quick += ["my_task", "my_space", "my_reward", "my_agent"]
    write(here, {"my_agent.py": "broken(", "my_reward.py": "def reward(e):\n    return 0.0\n"})
    assert run(here, *quick).returncode == 0  # neither has a part in it
    file, old, new = CHANGES["search space"]
    write(here, {file: FILES[file].replace(old, new)})
    done = run(here, *quick)
    assert done.returncode == 1
    assert "the code of the search space dense has changed" in done.stderr


def test_a_comparison_does_not_mix_two_codes_of_an_agent(here: Path) -> None:
    compare = ["compare", "--out", "c", "--env", "nas_gym/Digits-v0:search_space=my_space%3ADense"]
    compare[-1] = "nas_gym/Custom-v0:task=my_task:noise:search_space=my_space:Dense"
    compare += ["--agents", "my_agent:First", "--budget", "2", "--workers", "1", "--seeds"]
    assert run(here, *compare, "1").returncode == 0
    assert run(here, *compare, "2").returncode == 0
    write(here, {"my_agent.py": FILES["my_agent.py"].replace("range(6)", "range(5)")})
    done = run(here, *compare, "3")
    assert done.returncode == 1
    assert "the code of the agent my_agent:First has changed" in done.stderr
    write(here, {"my_agent.py": FILES["my_agent.py"]})
    file, old, new = CHANGES["search space"]
    write(here, {file: FILES[file].replace(old, new)})
    done = run(here, *compare, "3")
    assert done.returncode == 1
    assert "the code of its search space has changed" in done.stderr


def test_a_source_that_answers_otherwise_is_told(tmp_path: Path) -> None:
    table = """
def answer(architecture, seed):
    return len(architecture.layers) / 10
"""
    write(tmp_path, FILES | {"my_table.py": table})
    search = ["search", "--env-options", "source=my_table:answer", "--agent", "random"]
    first = run(tmp_path, *search, "--out", "r", "--budget", "2")
    assert first.returncode == 0, first.stderr
    write(tmp_path, {"my_table.py": table.replace("/ 10", "/ 9")})
    done = run(tmp_path, *search, "--out", "r", "--budget", "3")
    assert done.returncode == 1
    assert "the code of its source has changed" in done.stderr
    again = run(tmp_path, *search, "--out", "s", "--budget", "2", "--store", "r/store.sqlite")
    assert again.returncode == 0, again.stderr
    assert "recalled" not in again.stdout


def test_where_children_run_is_no_part_of_what_they_become(tmp_path: Path) -> None:
    evaluator = """
from nas_gym import InlineEvaluator


class Mine(InlineEvaluator):
    pass
"""
    write(tmp_path, FILES | {"my_place.py": evaluator})
    search = ["search", "--env-options", "evaluator=my_place:Mine", "--agent", "random"]
    search += ["--task", "my_task:noise", "--search-space", "my_space:Dense"]
    first = run(tmp_path, *search, "--out", "r", "--budget", "2")
    assert first.returncode == 0, first.stderr
    write(tmp_path, {"my_place.py": evaluator + "\n\nOTHER = 3\n"})
    done = run(tmp_path, *search, "--out", "s", "--budget", "2", "--store", "r/store.sqlite")
    assert done.returncode == 0, done.stderr
    assert "2 recalled" in done.stdout


# ---------------------------------------------------------------- nobody's word but the user's


def test_a_run_directory_runs_nothing_that_it_names(here: Path) -> None:
    write(
        here, {name: f"open('ran-{name[:-3]}', 'w').close()\n" for name in FILES if "/" not in name}
    )
    for command in (["retrain", "r"], ["retrain", "r", "--trust", "my_agent", "my_reward"]):
        done = run(here, *command)
        assert done.returncode == 1
        assert "--trust my_" in done.stderr
        assert done.stderr.count("\n") == 1
    done = run(here, "report", "r")  # what is best is what the reward says
    assert done.returncode == 1
    assert "--trust my_reward" in done.stderr
    assert not list(here.glob("ran-*"))


def test_a_comparison_runs_nothing_that_it_names(here: Path) -> None:
    env = "nas_gym/Custom-v0:task=my_task:noise:search_space=my_space:Dense"
    compare = ["compare", "--out", "c", "--budget", "2", "--workers", "1", "--seeds", "1"]
    named = ["--env", env, "--agents", "my_agent:First"]
    assert run(here, *compare, *named).returncode == 0
    trust = ["--trust", "my_task", "my_space"]
    assert run(here, "report", "c", *trust).returncode == 0
    assert run(here, *compare, *trust, "my_agent").returncode == 0
    write(
        here, {name: f"open('ran-{name[:-3]}', 'w').close()\n" for name in FILES if "/" not in name}
    )
    for command in (["report", "c"], compare, [*compare, *trust]):
        done = run(here, *command)
        assert done.returncode == 1, command
        assert "--trust my_" in done.stderr
    assert not list(here.glob("ran-*"))


def test_a_file_beside_a_run_is_not_taken_for_a_library(here: Path) -> None:
    libraries = ("rich", "PIL", "matplotlib", "tensorboard", "cloudpickle")
    write(here, {f"{name}.py": f"open('ran-{name}', 'w').close()\n" for name in libraries})
    assert run(here, "report", "r", "--trust", "my_reward").returncode == 0
    assert not list(here.glob("ran-*"))


@pytest.mark.parametrize(
    ("where", "line", "code"),
    [
        ("my_agent.py", "for number in range(6):", "0"),
        ("my_reward.py", "return evaluation.scores['accuracy']", "'bye'"),
        ("my_task.py", "labels = torch.arange(120) % 2", "None"),
    ],
)
def test_code_of_ones_own_that_leaves_is_a_bug_of_that_code(
    where: str, line: str, code: str, tmp_path: Path
) -> None:
    write(tmp_path, FILES)
    indent = FILES[where].partition(line)[0].rpartition("\n")[2]
    leaving = f"raise SystemExit({code})\n{indent}{line}"
    write(tmp_path, {where: FILES[where].replace(line, leaving)})
    done = run(tmp_path, *SEARCH, "--out", "r")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: code of" in done.stderr
    assert where in done.stderr


BUGS = {
    "task": ("my_task.py", "labels = torch.arange(120) % 2"),
    "reward": ("my_reward.py", "return evaluation.scores['accuracy']"),
    "search space": ("my_space.py", "return nn.Sequential("),
    "agent": ("my_agent.py", "for number in range(6):"),
}


@pytest.mark.parametrize("error", ["ValueError", "TypeError", "KeyError"])
@pytest.mark.parametrize("what", BUGS)
def test_a_bug_keeps_its_traceback(what: str, error: str, tmp_path: Path) -> None:
    write(tmp_path, FILES)
    file, line = BUGS[what]
    assert line in FILES[file]
    indent = FILES[file].partition(line)[0].rpartition("\n")[2]
    raising = f"raise {error}('a bug of mine')\n{indent}{line}"
    write(tmp_path, {file: FILES[file].replace(line, raising)})
    done = run(tmp_path, *SEARCH, "--out", "r")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert f"{error}: " in done.stderr
    assert file in done.stderr


def test_what_a_partial_or_an_object_holds_of_libraries_is_not_the_users() -> None:
    """A task's sealed test set is a partial over tensors: torch is nobody's own code."""
    import functools

    from nas_gym.own_code import code_of

    class Holder:
        def __init__(self) -> None:
            self.kind = torch.nn.Linear
            self.make = functools.partial(torch.nn.Linear, torch.zeros(1))

    own = code_of(Holder)
    assert own is not None
    assert code_of(Holder()) == own
    assert (
        code_of(functools.partial(nas_gym.tasks.load_task, torch.zeros(2), torch.nn.ReLU)) is None
    )
