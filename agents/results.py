"""What a run directory shows of a run, written anew from the store at any time."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any

from agents.report import render_report, top
from agents.run_directory import RunDirectory, RunError
from agents.trust import retrain_command
from nas_gym._files import read_json, write_text
from nas_gym.evaluation import Evaluation

RETRAINED = "retrained.json"
COLUMNS = (
    "status",
    "val_accuracy",
    "val_top5",
    "val_loss",
    "params",
    "macs",
    "seconds",
    "epochs",
    "seed",
)


def write_results(run: RunDirectory, evaluations: list[Evaluation]) -> None:
    """Write ``evaluations.csv``, ``best.json`` and ``report.html``.

    Raises:
        RunError: ``retrained.json`` is damaged. Nothing is written then.
    """
    page = report(run, evaluations)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["proposal", *COLUMNS, "architecture", "detail"])
    for number, e in enumerate(evaluations, 1):
        values = [getattr(e, name) for name in COLUMNS]
        rows.writerow([number, *values, e.architecture.to_json(), e.detail])
    write_text(run.path / "evaluations.csv", text.getvalue())
    for best in top(evaluations, 1):
        value = {
            "val_accuracy": best.val_accuracy,
            "val_loss": best.val_loss,
            "params": best.params,
            "macs": best.macs,
            "architecture": json.loads(best.architecture.to_json()),
        }
        write_text(run.path / "best.json", json.dumps(value, indent=2) + "\n")
    write_text(run.path / "report.html", page)


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
    if "table" in context:
        facts["table"] = context["table"]
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
        space=space["name"],
        input_shape=tuple(space["input_shape"]),
        num_classes=space["num_classes"],
        retrained=[one for one in read_retrained(run).get("children", []) if "test_top1" in one],
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
