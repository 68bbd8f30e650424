"""What a run directory shows of a run, written anew from the store at any time."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any

from agents.identity import read_goals, read_metrics
from agents.report import render_report
from agents.run_directory import RunDirectory, RunError
from agents.trust import retrain_command
from nas_gym import Evaluation
from nas_gym._files import read_json, write_text
from nas_gym.objectives import best as best_of
from nas_gym.rewards import Reward

RETRAINED = "retrained.json"


def write_results(run: RunDirectory, evaluations: list[Evaluation]) -> None:
    """Write ``evaluations.csv``, ``best.json`` and ``report.html``.

    Raises:
        RunError: ``retrained.json`` is damaged. Nothing is written then.
    """
    page = report(run, evaluations)
    objective, reward = read_goals(run.config["goals"])
    write_text(run.path / "evaluations.csv", _csv(evaluations, reward))
    best = best_of(objective, evaluations)
    if best is not None:
        value = {
            "objective": {one.metric.name: one(best) for one in objective.columns},
            "reward": reward(best),
            **{f"val_{name}": value for name, value in best.scores.items()},
            **best.cost,
            "architecture": json.loads(best.architecture.to_json()),
        }
        write_text(run.path / "best.json", json.dumps(value, indent=2) + "\n")
    write_text(run.path / "report.html", page)


def _csv(evaluations: list[Evaluation], reward: Reward) -> str:
    """A row for each proposal; a column for every score and cost that there is."""
    scores = list(dict.fromkeys(name for e in evaluations for name in e.scores))
    costs = list(dict.fromkeys(["params", "macs", *(name for e in evaluations for name in e.cost)]))
    text = io.StringIO()
    rows = csv.writer(text)
    names = [f"val_{name}" for name in scores]
    rest = ["seconds", "epochs", "seed", "architecture", "detail"]
    rows.writerow(["proposal", "status", "reward", *names, *costs, *rest])
    for number, e in enumerate(evaluations, 1):
        values: list[Any] = [number, e.status, reward(e)]
        values += [e.scores.get(name) for name in scores] + [e.cost.get(name) for name in costs]
        values += [e.seconds, e.epochs, e.seed]
        rows.writerow([*values, e.architecture.to_json(), e.detail])
    return text.getvalue()


def report(run: RunDirectory, evaluations: list[Evaluation]) -> str:
    """The run's page, with the test results where it was retrained."""
    config, context = run.config, run.config["context"]
    space = context["search_space"]
    options = {**config["env_options"], **config["agent_options"]}
    facts = {
        "environment": config["env"],
        "agent": config["agent"],
        "options": json.dumps(options) if options else "defaults",
        "seed": str(config["seed"]),
        "budget": f"{config['budget']} distinct children",
        "search space": json.dumps({k: v for k, v in space.items() if k != "input_shape"}),
        "input": " x ".join(map(str, space["input_shape"])),
    }
    if context["source"] != "training":
        facts["source"] = context["source"]
    else:
        recipe = {k: v for k, v in context["recipe"].items() if v is not None}
        facts |= {"recipe": json.dumps(recipe), "data": context["data"]}
        # readable in any locale
        facts["retrain"] = os.fsencode(retrain_command(run)).decode(errors="replace")
    facts["versions"] = ", ".join(f"{k} {v}" for k, v in config["versions"].items())
    return render_report(
        f"{config['agent']} on {config['env']}",
        facts,
        evaluations,
        objective=read_goals(config["goals"])[0],
        metrics=read_metrics(config["goals"]),
        space=space["name"],
        input_shape=tuple(space["input_shape"]),
        num_classes=space["num_classes"],
        retrained=[one for one in read_retrained(run).get("children", []) if "test" in one],
    )


def read_retrained(run: RunDirectory) -> dict[str, Any]:
    """What ``retrain`` wrote; empty where it has not run.

    Raises:
        RunError: It is damaged, so how often the test set was opened is not known.
    """
    try:
        return read_json(run.path / RETRAINED)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RunError(str(error)) from error
