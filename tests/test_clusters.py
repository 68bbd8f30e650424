"""One suite over the evaluators of clusters, on real ones of two workers on this machine."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cluster_toys as toys
import pytest

import nas_gym.evaluators.cluster
from agents.cli import main
from nas_gym.evaluation import Evaluation, Request
from nas_gym.evaluators import InlineEvaluator, make_evaluator, workers_spec
from nas_gym.evaluators.cargo import Cargo, check_alike
from nas_gym.evaluators.cluster import extra
from nas_gym.evaluators.needs import Needs, look
from nas_gym.evaluators.parcels import WorkerTraceback
from nas_gym.ledger import Ledger
from nas_gym.objectives import make_objective
from nas_gym.sources import FunctionSource, Source, ship
from nas_gym.testing import check_evaluator

SPACE = toys.toy_source().space
MISSING = "needs the extra {}: make test-extras"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs."""

    name: str
    address: str | None  # None: the one that this process is connected to

    def evaluator(self, source: Source, **options: Any) -> Any:
        where = {} if self.address is None else {"address": self.address}
        return make_evaluator({"name": self.name, **where, **options}, source)


# Actors keep their cores, so more of them than the module's evaluator takes; Ray only counts them.
def _ray() -> Iterator[Cluster]:
    ray = pytest.importorskip("ray", reason=MISSING.format("ray"))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        "local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    yield Cluster("ray", None)
    ray.shutdown()


def _dask() -> Iterator[Cluster]:
    distributed = pytest.importorskip(
        "distributed", reason="needs the extra dask: make test-extras"
    )
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs="CRITICAL",
    ) as cluster:
        yield Cluster("dask", cluster.scheduler_address)


@pytest.fixture(scope="module", params=[_ray, _dask], ids=["ray", "dask"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    before, os.environ["PYTHONPATH"] = os.environ.get("PYTHONPATH"), path
    try:
        yield from request.param()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@pytest.fixture
def waits(tmp_path: Path) -> Path:
    """Where a child that waits says so."""
    return tmp_path / "waits"


@pytest.fixture(scope="module")
def evaluator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two workers for many tests, as each of them takes seconds to start."""
    place = tmp_path_factory.mktemp("evaluator") / "waits"
    evaluator = cluster.evaluator(toys.toy_source(str(place), time_limit=120), workers=2)
    yield evaluator
    evaluator.close()


@pytest.fixture
def place(evaluator: Any) -> Path:
    """Where a child of that evaluator says that it waits."""
    place = Path(evaluator.source.space.places[0])
    place.unlink(missing_ok=True)
    return place


def child(way: str, width: int = 4, seed: int = 0) -> Request:
    return Request(SPACE.child(way, width), seed)


CHILDREN = [child("plain", width, seed) for width in (2, 4, 8) for seed in (0, 1)]


def answers(evaluator: Any, requests: list[Request]) -> list[Evaluation]:
    futures = [evaluator.submit(request) for request in requests]
    return [replace(future.result(120), seconds=0.0) for future in futures]


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it has not come to pass"
        time.sleep(0.05)


def running(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def waiting(place: Path, count: int = 1) -> list[int]:
    """Processes of the children that wait, as soon as there are so many."""

    def written() -> list[int]:
        return (
            [int(line) for line in place.read_text(encoding="utf-8").split()]
            if place.exists()
            else []
        )

    until(lambda: len(written()) >= count)
    return written()


# ---------------------------------------------------------------- before any cluster runs


@pytest.mark.parametrize("name", ["ray", "dask"])
@pytest.mark.parametrize("address", ["127.0.0.1:{free}", "no-such-host.invalid:99", "nonsense"])
def test_an_address_where_nobody_answers_is_one_sentence(name: str, address: str) -> None:
    pytest.importorskip({"dask": "distributed"}.get(name, name), reason=MISSING.format(name))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(free=free.getsockname()[1])
        evaluator = make_evaluator({"name": name, "address": address}, toys.toy_source())
        started = time.monotonic()
        with pytest.raises(ValueError, match=f"no {name} cluster answers at {address}: ") as caught:
            evaluator.submit(child("plain"))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 20
    evaluator.close()


# ---------------------------------------------------------------- results


def test_results_are_those_of_inline(evaluator: Any) -> None:
    assert answers(evaluator, CHILDREN) == answers(InlineEvaluator(evaluator.source), CHILDREN)
    assert evaluator.slots == 2


def test_they_are_in_bfloat16_on_two_threads_and_kept(cluster: Cluster, tmp_path: Path) -> None:
    kept = tmp_path / "children"
    source = toys.toy_source(keep=kept, batch_size=64, precision="bfloat16", threads=2)
    evaluator = cluster.evaluator(source, workers=1)
    try:
        assert evaluator.slots == 1
        found = answers(evaluator, CHILDREN[:3])
    finally:
        evaluator.close()
    assert len(list(kept.rglob("*.pt"))) >= 3
    assert not list(kept.glob(".nas-gym*"))
    assert found == answers(InlineEvaluator(replace(source, keep=None)), CHILDREN[:3])


def test_a_ledger_has_the_same_account(evaluator: Any) -> None:
    objective = make_objective("accuracy", evaluator.source.metrics)
    ledgers = [Ledger(one, objective) for one in (evaluator, InlineEvaluator(evaluator.source))]
    there, here = (ledger.evaluate(CHILDREN) for ledger in ledgers)
    assert [one.scores for one in there] == [one.scores for one in here]
    assert ledgers[0].best is not None
    assert ledgers[0].best.request == ledgers[1].best.request  # type: ignore[union-attr]


def test_it_is_what_an_evaluator_must_be(cluster: Cluster) -> None:
    check_evaluator(
        cluster.evaluator(toys.toy_source(), workers=1), [child("plain"), child("huge")]
    )


# ---------------------------------------------------------------- failures


def test_a_child_that_fails_is_a_value(evaluator: Any) -> None:
    huge, died, plain = answers(evaluator, [child("huge"), child("dies"), child("plain")])
    assert (huge.status, died.status, plain.status) == ("out_of_memory", "crashed", "ok")
    assert "its process" in died.detail
    assert "twice" not in died.detail


def test_a_child_that_dies_is_not_tried_again(evaluator: Any, place: Path) -> None:
    future = evaluator.submit(child("waits"))
    (process,) = waiting(place)
    os.kill(process, signal.SIGKILL)
    assert future.result(60).status == "crashed"
    assert answers(evaluator, [child("plain")])[0].ok
    assert waiting(place) == [process]


def test_a_mistake_surfaces_as_what_it_is(evaluator: Any) -> None:
    with pytest.raises(toys.ToyBug, match="a mistake in a space") as caught:
        evaluator.submit(child("bug")).result(60)
    assert isinstance(caught.value.__cause__, WorkerTraceback)
    assert "cluster_toys.py" in str(caught.value.__cause__)
    assert answers(evaluator, [child("plain")])[0].ok


def test_so_does_one_in_making_the_source(cluster: Cluster) -> None:
    evaluator = cluster.evaluator(toys.Unmakeable(), workers=1)
    with pytest.raises(toys.ToyBug, match="cannot be made here"):
        evaluator.submit(child("plain")).result(60)
    evaluator.close()


def test_limits_of_time_and_memory(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that hangs lets no other thread of its process run."""
    monkeypatch.setattr(nas_gym.evaluators.cluster, "GRACE", 1.0)
    evaluator = cluster.evaluator(toys.toy_source(time_limit=4.0), workers=1, memory_mb=3000)
    try:
        large, hung = answers(evaluator, [child("large"), child("hangs")])
        assert large.status == "out_of_memory"
        assert (hung.status, hung.detail) == ("timeout", "killed after 5 s")
    finally:
        evaluator.close()


# ---------------------------------------------------------------- workers and data


def test_workers_and_data_are_there_once(cluster: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "made"
    evaluator = cluster.evaluator(toys.Counted(str(log)), workers=2)
    try:
        found = answers(evaluator, [child("plain", seed=seed) for seed in range(8)])
    finally:
        evaluator.close()
    processes = {int(one.scores["process"]) for one in found}
    made = [int(line) for line in log.read_text(encoding="utf-8").split()]
    assert processes <= set(made)
    assert len(made) == len(set(made)) <= 2
    if cluster.name == "ray":  # memory of the node's store, which nobody may write to
        assert {one.scores["writable"] for one in found} == {0.0}


def test_two_searches_at_once_do_not_disturb_each_other(evaluator: Any, cluster: Cluster) -> None:
    """On workers of Dask they take turns with their sources; Ray gives each its own processes."""
    other = cluster.evaluator(toys.toy_source(epochs=1), workers=1)
    try:
        futures = [one.submit(request) for request in CHILDREN[:3] for one in (evaluator, other)]
        assert [future.result(120).epochs for future in futures] == [2, 1] * 3
    finally:
        other.close()


def test_a_copy_connects_by_itself(evaluator: Any) -> None:
    twin = copy.deepcopy(evaluator)
    assert twin._crew is None
    assert pickle.loads(pickle.dumps(evaluator))._crew is None
    twin.close()


# ---------------------------------------------------------------- ends


def test_cancelling_ends_the_process(evaluator: Any, place: Path) -> None:
    futures = [evaluator.submit(child("waits", seed=seed)) for seed in range(4)]
    processes = waiting(place, 2)
    for future in reversed(futures):
        future.cancel()
    until(lambda: not any(map(running, processes)), 20)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(20)
    assert answers(evaluator, [child("plain")])[0].ok
    assert waiting(place) == processes


def test_closing_leaves_no_child_behind(cluster: Cluster, waits: Path) -> None:
    evaluator = cluster.evaluator(toys.toy_source(str(waits)), workers=1)
    futures = [evaluator.submit(child("waits", seed=seed)) for seed in range(3)]
    processes = waiting(waits)
    evaluator.close()
    until(lambda: not any(map(running, processes)), 5)
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(5)
    assert waiting(waits) == processes


PROGRAM = """
import sys
import cluster_toys as toys
from nas_gym.evaluation import Request
from nas_gym.evaluators import make_evaluator
source = toys.toy_source(sys.argv[2])
evaluator = make_evaluator(__import__("json").loads(sys.argv[1]), source)
try:
    future = evaluator.submit(Request(source.space.child("waits")))
    future.result()
except KeyboardInterrupt:
    if sys.argv[3] == "close":
        evaluator.close()
    sys.exit(7)
"""


@pytest.mark.parametrize("end", ["close", "forget", "kill"])
def test_a_search_that_ends_leaves_no_child_behind(cluster: Cluster, waits: Path, end: str) -> None:
    """Interrupted, and closed or not; or killed. Ray starts its own cluster there."""
    spec: dict[str, Any] = {"name": cluster.name}
    if cluster.address is None:
        if end == "forget":
            pytest.skip("takes a while, and is the same as close")
        spec |= {"workers": 1}
    else:
        spec |= {"address": cluster.address}
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(spec), str(waits), end],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, MARK: str(waits)},
    )
    (process,) = waiting(waits)
    assert cluster.address is not None or marked(str(waits))
    program.send_signal(signal.SIGKILL if end == "kill" else signal.SIGINT)
    said, _ = program.communicate(timeout=60)
    assert program.returncode == (-signal.SIGKILL if end == "kill" else 7), said
    assert end == "kill" or "Traceback" not in said
    until(lambda: not running(process), 30)
    if cluster.name == "ray":  # its own cluster is gone too
        until(lambda: not marked(str(waits)), 30)


MARK = "NAS_GYM_TEST_PLACE"


def marked(value: str) -> list[str]:
    """What was started with this mark and is still there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={value}".encode() in entry.read_bytes():
                found.append((entry.parent / "comm").read_text(encoding="utf-8").strip())
    return found


# ---------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": 1000}, "1000 CPUs|a child needs 1000"),
        ({"gpus": 64}, "64 GPUs|a child needs 64"),
        ({"memory_mb": 1e9}, "1e[+]09 MiB of memory|a child needs 1e[+]09"),
    ],
    ids=str,
)
def test_what_no_node_has_is_said_before_the_first_child(
    cluster: Cluster, options: dict[str, Any], message: str
) -> None:
    evaluator = cluster.evaluator(toys.toy_source(), **options)
    with pytest.raises(ValueError, match=f"{cluster.name} cluster.*({message})"):
        evaluator.submit(child("plain"))
    evaluator.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nas_gym": None, "why": "No module"}, "has no nas_gym .* is needed.*No module"),
        ({"torch": "1.0"}, "has torch 1.0, and .* is needed"),
        ({"python": "3.1"}, "has python 3.1, and .* is needed"),
        ({"cpus": 1}, "has 1 CPUs, and a child needs 2"),
        ({"keep": False}, "does not see the folder /kept"),
        ({"memory_mb": 10.0}, "has 10 MiB of memory, and a child needs 100"),
        ({"cards": 0}, "shows 0 GPUs to torch, and a child needs 1"),
        ({}, "^$"),
    ],
    ids=str,
)
def test_what_a_node_lacks_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    seen = look(None, cards=False)() | {"cpus": 2, "cards": 1} | changes
    assert re.search(message, Needs(2, 1, 100.0, Path("/kept")).lack(seen))


def test_a_process_has_one_connection_to_ray(cluster: Cluster) -> None:
    if cluster.name != "ray":
        pytest.skip("Dask has as many as one likes")
    evaluator = make_evaluator({"name": "ray", "address": "127.0.0.1:9"}, toys.toy_source())
    with pytest.raises(ValueError, match=r"is connected to the ray cluster at .* beside it$"):
        evaluator.submit(child("plain"))


def test_an_extra_that_is_not_installed_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"pip install 'nas-gym\[ray\]'"):
        extra("ray", "ray_that_is_not_here")


# ---------------------------------------------------------------- without a cluster


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("4", {"name": "pool", "workers": 4}),
        ("ray", {"name": "ray"}),
        ("ray:10.0.0.1:6379", {"name": "ray", "address": "10.0.0.1:6379"}),
        ("ray:auto", {"name": "ray", "address": "auto"}),
        ("ray:ray://head:10001", {"name": "ray", "address": "ray://head:10001"}),
        ("dask:tcp://head:8786", {"name": "dask", "address": "tcp://head:8786"}),
    ],
)
def test_workers_of_a_command_line(text: str, spec: dict[str, Any]) -> None:
    assert workers_spec(text) == spec


def test_what_is_missing_for_a_search_is_said_before_anything_is_written(tmp_path: Path) -> None:
    words = ["search", "--out", str(tmp_path / "run"), "--agent", "random", "--budget", "1"]
    with pytest.raises(SystemExit, match=r"error: .*(needs a library|no dask cluster answers)"):
        main([*words, "--workers", "dask:127.0.0.1:9"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "0", "-1", "2.5", "many", "dask", "dask:", "ray:", "4:x"])
def test_what_is_no_workers(text: str) -> None:
    with pytest.raises(ValueError, match="a number of at least 1, ray, ray:ADDRESS or dask"):
        workers_spec(text)


def test_importing_nas_gym_imports_neither() -> None:
    program = (
        "import sys, nas_gym, nas_gym.evaluators\n"
        "assert not {'ray', 'dask', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_task_travels_without_a_folder() -> None:
    source = toys.toy_source()
    twin = ship(source, None)()
    assert twin.context == source.context
    again = ship(source, None)()
    assert again(child("plain")).scores == source(child("plain")).scores


def test_a_node_with_other_code_is_refused() -> None:
    cargo = Cargo.of(toys.toy_source())
    there = dict(cargo.made().context)
    check_alike(cargo, there, "a node")
    with pytest.raises(ValueError, match=r"a node would give other results .*: code of the source"):
        check_alike(cargo, {**there, "code": {"search_space": "0"}}, "a node")


def test_options_out_of_range() -> None:
    source = FunctionSource(lambda architecture, seed: 1.0)
    assert Needs.of(source, None, None, None) == Needs(1, 0, None, None)
    for wrong in ({"cpus": 0}, {"gpus": -1.0}, {"memory_mb": 0.0}):
        with pytest.raises(ValueError, match="a child needs at least one core"):
            Needs.of(source, **{"cpus": None, "gpus": None, "memory_mb": None, **wrong})
