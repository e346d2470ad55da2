"""Benchmark 3: what it costs that much is under management and much is on record."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from benchmarks import trees
from benchmarks.daemon import Daemon, wait_synced
from benchmarks.figures import Samples, text
from benchmarks.observing import Observer
from benchmarks.result import Line, Plot, Result, Table
from benchmarks.setting import Setting
from headgate import Client

TITLE = "Scale of history: many files under management, many deployments on record"
HOW = """\
One environment with so many files of 1 KB and as many deployments on record (copies of a real record with ids, sequences and times
of their own; history keeps the content of the newest hundred, as by default). *Start* is from the start of the program to READY=1, files in the
page cache and all that was made for the measurement on disk; *memory* is the resident set when all has been looked at after a start; *page* is the first 50 of ListDeployments through door and
client, of all and of the one environment; *rollback* undoes the last change of one file among all, from the call to the old bytes seen whole at
the target, and to the end of the deployment."""

ENVIRONMENT = "canal"
MEASURES = ("start", "memory", "page", "page of environment", "rollback, bytes", "rollback, finished")
UNITS = ("s", "MB", "ms", "ms", "ms", "ms")


def run(setting: Setting) -> Result:
    """Measure at each size."""
    sizes = (200, 2_000) if setting.quick else setting.sizes(1_000, 10_000, 100_000)
    result = Result("records", TITLE, HOW)
    samples = Samples()
    for size in sizes:
        setting.say(f"records: {size:,} files and deployments")
        _measure(setting.fresh(f"records-{size}"), size, samples, quick=setting.quick)
    heads = ["", *(f"{size:,}" for size in sizes), "growth"]
    table = Table("By number of files and of deployments on record (medians; rollback also p99)", heads)
    for measure, unit in zip(MEASURES, UNITS, strict=True):
        values = [samples.median(f"{size}/{measure}") for size in sizes]
        table.row(f"{measure} ({unit})", *map(text, values), f"x {values[-1] / values[0]:.1f}")
    tails = [samples.p99(f"{size}/rollback, bytes") for size in sizes]
    table.row("rollback, bytes, p99 (ms)", *map(text, tails), f"x {tails[-1] / tails[0]:.1f}")
    result.tables.append(table)
    _judge(result, samples, sizes[-1])
    result.plots.append(
        Plot(
            "records.svg",
            "Cost by what is under management and on record",
            "files and deployments",
            "unit as in the table",
            [
                Line(f"{measure} ({unit})", [(size, samples.median(f"{size}/{measure}")) for size in sizes])
                for measure, unit in zip(MEASURES, UNITS, strict=True)
            ],
        )
    )
    return result


def _judge(result: Result, samples: Samples, size: int) -> None:
    at = f"with {size:,} files and {size:,} deployments on record"
    result.goal(f"start to READY {at}", samples.median(f"{size}/start"), 3, "s")
    result.goal(f"memory {at}", samples.median(f"{size}/memory"), 200, "MB")
    result.goal(f"first page of ListDeployments {at}", samples.median(f"{size}/page"), 10, "ms")
    result.goal(f"rollback of one file {at}, p50", samples.median(f"{size}/rollback, bytes"), 5, "ms")


def _measure(home: Path, size: int, samples: Samples, *, quick: bool) -> None:
    source, target = home / "source", home / "target"
    file = source / trees.place(size // 2)
    daemon = Daemon(home / "d")
    try:
        _make(daemon, source, target, file, size)
        for _ in range(3 if quick else 5):
            samples.add(f"{size}/start", daemon.start())
            with daemon.client() as client:
                wait_synced(client, ENVIRONMENT)
                time.sleep(2)
            samples.add(f"{size}/memory", daemon.weigh().rss_mb)
            daemon.stop()
        daemon.start()
        with daemon.client() as client:
            wait_synced(client, ENVIRONMENT)
            for _ in range(10 if quick else 40):
                samples.add(f"{size}/page", _page(client, ""))
                samples.add(f"{size}/page of environment", _page(client, ENVIRONMENT))
            _roll_back(client, file, target / file.relative_to(source), size, samples, 8 if quick else 30)
    finally:
        daemon.stop()


def _make(daemon: Daemon, source: Path, target: Path, file: Path, size: int) -> None:
    """Deploy one file, multiply the record of that, then deploy all the others."""
    file.parent.mkdir(parents=True)
    file.write_bytes(trees.hot(0))
    daemon.start()
    with daemon.client() as client:
        client.create_environment(
            ENVIRONMENT,
            type="testing",
            config_path=str(target),
            sources=[str(source)],
            variables={trees.VARIABLE: trees.VALUE},
            policies={"settle_quiet": 0.0},
        )
        wait_synced(client, ENVIRONMENT)
    daemon.stop()
    _multiply(daemon.state, size)
    trees.grow(source, size, 1024)
    file.write_bytes(trees.hot(0))
    daemon.start()
    with daemon.client() as client:
        wait_synced(client, ENVIRONMENT)
        while next(client.list_deployments(ENVIRONMENT, page_size=1)).changes.added_count < size - 1:
            time.sleep(0.2)
        wait_synced(client, ENVIRONMENT)
    daemon.stop()
    os.sync()  # Else every sync that is measured also waits for what nobody deployed: the files of the source and the copied records.


def _multiply(state: Path, count: int) -> None:
    """Make `count` records of the one that is there."""
    directory = state / "config_deployments" / ENVIRONMENT
    record = json.loads(next(directory.glob("*.json")).read_text(encoding="utf-8"))
    for number in range(2, count + 1):
        seconds = 1_700_000_000 + number * 60
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(seconds))
        made = record | {
            "deployment_id": f"deploy_{ENVIRONMENT}_{seconds}",
            "sequence": number,
            **{moment: at for moment in ("deployed_at", "started_at", "finished_at") if record.get(moment)},
        }
        path = directory / f"{made['deployment_id']}.json"
        path.write_text(json.dumps(made, indent=2), encoding="utf-8")
        path.chmod(0o600)


def _page(client: Client, environment: str) -> float:
    began = time.perf_counter()
    next(client.list_deployments(environment, page_size=50))
    return (time.perf_counter() - began) * 1e3


def _roll_back(client: Client, file: Path, copy: Path, size: int, samples: Samples, times: int) -> None:
    """Change the file, undo that, and again: the next change lifts the hold."""
    with Observer([copy], trees.HOT_BYTES, rendered=True) as observer:
        for number in range(1, times + 1):
            beside = file.parents[2] / "next"
            beside.write_bytes(trees.hot(number))
            beside.rename(file)
            observer.wait(number)
            deployed = _newest(client, number)
            time.sleep(0.1)
            began = time.monotonic_ns()
            undone = client.rollback(deployed)
            samples.add(f"{size}/rollback, bytes", (observer.wait(0) - began) / 1e6)
            client.wait_for_deployment(undone.deployment_id, 60)
            samples.add(f"{size}/rollback, finished", (time.monotonic_ns() - began) / 1e6)
            time.sleep(0.1)


def _newest(client: Client, number: int) -> str:
    """Wait for the record of a change whose bytes are already there; return its id."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        record = next(client.list_deployments(ENVIRONMENT, page_size=1))
        if record.changes.modified_count == 1 and record.deployment_id.startswith("deploy_"):
            return record.deployment_id
        time.sleep(0.01)
    raise RuntimeError(f"there is no record of change {number}")
