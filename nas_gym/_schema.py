"""What lies in a store: its tables, and its rows with their checksums."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from nas_gym.evaluation import Evaluation

SCHEMA_VERSION = 3
APPLICATION_ID = 0x6E617367  # "nasg"

SCHEMA = """
CREATE TABLE evaluation (
    key TEXT PRIMARY KEY,          -- sha256 of request and context
    architecture TEXT NOT NULL,    -- JSON
    context TEXT NOT NULL,         -- JSON: data, search space, recipe, device
    seed INTEGER NOT NULL,
    until INTEGER,                 -- epochs asked for, NULL for all of the recipe's
    status TEXT NOT NULL,
    scores TEXT NOT NULL,          -- JSON: metric to number
    cost TEXT NOT NULL,            -- JSON: params, macs, ...
    seconds REAL NOT NULL,
    epochs INTEGER NOT NULL,
    origin TEXT NOT NULL,
    detail TEXT NOT NULL,
    created REAL NOT NULL,         -- seconds since 1970
    sha256 TEXT NOT NULL           -- of all of the above
) STRICT;
CREATE TABLE run (
    name TEXT PRIMARY KEY
) STRICT;
CREATE TABLE proposal (
    run TEXT NOT NULL,
    number INTEGER NOT NULL,       -- from 0, in the order in which the run asked
    key TEXT NOT NULL,
    sha256 TEXT NOT NULL,          -- of all of the above
    PRIMARY KEY (run, number)
) STRICT;
"""

SELECT = "SELECT * FROM evaluation"
COUNT = (
    "SELECT (SELECT count(*) FROM evaluation) + (SELECT count(*) FROM proposal) + "
    "(SELECT count(*) FROM run)"
)


def row_of(key: str, context: Mapping[str, Any], evaluation: Evaluation) -> list[Any]:
    """The values of one evaluation, of the types that SQLite gives back."""
    e = evaluation

    detail = e.detail.encode("utf-8", "backslashreplace").decode()  # paths may be no text
    row: list[Any] = [key, e.architecture.to_json(), json.dumps(context, sort_keys=True)]
    row += [int(e.seed), None if e.request.until is None else int(e.request.until), e.status]
    row += [numbers(e.scores), numbers(e.cost), float(e.seconds), int(e.epochs), e.origin, detail]
    return [*row, time.time()]


def numbers(values: Mapping[str, float]) -> str:
    """Scores or costs as JSON, in their own order.

    Raises:
        ValueError: One is no finite number.
    """
    return json.dumps(dict(values), allow_nan=False, default=float)


def digest(values: Sequence[Any]) -> str:
    """The checksum of a row, whose columns have types and no text with a zero byte."""
    return hashlib.sha256("\0".join(map(str, values)).encode()).hexdigest()
