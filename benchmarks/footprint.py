"""Benchmark 7: the command line from cold, and a daemon to which nothing happens."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.daemon import PROGRAMS, Daemon, Weight, wait_synced
from benchmarks.figures import Samples, text
from benchmarks.result import Result, Table
from benchmarks.setting import Setting

TITLE = "Command line from cold, and an idle daemon"
HOW = """\
*Command line*: from the start of the process to its end, in random order in every round; beside Python that does nothing, that imports grpc, and the smallest
program that makes one gRPC call (GetStatus, without protobuf). *Idle*: a daemon with nothing to watch, and one with 1,000 directories (a file in each),
left alone; memory is the resident set at the end. A wake-up is a wait of a thread that ended. A full run waits until history was collected for the
first time (a minute after the start, then every hour); the periodic scan (every 60 s by default) is in its figures."""

AFTER_A_START = 65.0
"""Seconds in which a daemon has things to do that it then does once an hour."""
PASS, GRPC, CALL = "python -c pass", "python -c 'import grpc'", "smallest cold gRPC call"
VERSION, STATUS, COMPLETION = "headgate --version", "headgate status", "completion of a verb"
_CALL = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    channel.unary_unary("/headgate.v1.DaemonService/GetStatus")(b"", timeout=10)
"""


def run(setting: Setting) -> Result:
    """Measure."""
    home = setting.fresh("footprint")
    directories = 100 if setting.quick else 1_000
    seconds = 10.0 if setting.quick else 60.0
    for number in range(directories - 1):
        place = home / "source" / f"d{number:04d}"
        place.mkdir(parents=True)
        (place / "gate.conf").write_text(f"gate = {number}\n", encoding="utf-8")
    empty, watching = Daemon(home / "e"), Daemon(home / "w")
    result = Result("footprint", TITLE, HOW)
    try:
        empty.start()
        watching.start()
        began = time.monotonic()
        with watching.client() as client:
            client.create_environment(
                "canal", type="testing", config_path=str(home / "target"), sources=[str(home / "source")]
            )
            wait_synced(client, "canal")
        setting.say("footprint: command line")
        _command_line(result, watching.address, 5 if setting.quick else 21)
        setting.say(f"footprint: {seconds:.0f} s idle")
        if not setting.quick:
            time.sleep(max(0.0, began + AFTER_A_START - time.monotonic()))
        _idle(result, {"nothing to watch": empty, f"{directories:,} directories watched": watching}, seconds)
    finally:
        empty.stop()
        watching.stop()
    return result


def _command_line(result: Result, address: str, rounds: int) -> None:
    samples, python, headgate = Samples(), sys.executable, PROGRAMS / "headgate"
    environment = {**os.environ, "HEADGATE_ADDRESS": address}
    completing = {"_HEADGATE_COMPLETE": "bash_complete", "COMP_WORDS": "headgate st", "COMP_CWORD": "1"}
    commands: dict[str, tuple[list[str | Path], dict[str, str]]] = {
        PASS: ([python, "-c", "pass"], {}),
        GRPC: ([python, "-c", "import grpc"], {}),
        CALL: ([python, "-c", _CALL, address], {}),
        VERSION: ([headgate, "--version"], {}),
        STATUS: ([headgate, "status"], {}),
        COMPLETION: ([headgate], completing),
    }
    order = list(commands)
    for number in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            command, more = commands[name]
            began, used = time.perf_counter(), _children_seconds()
            done = subprocess.run(command, env=environment | more, capture_output=True, check=False)
            taken = (time.perf_counter() - began) * 1e3
            if done.returncode:
                raise RuntimeError(f"{name} failed: {done.stderr.decode(errors='replace')[-300:]}")
            if number:  # The first round fills caches.
                samples.add(name, taken)
                samples.add(f"{name}/processor", (_children_seconds() - used) * 1e3)
    table = Table("Command line (milliseconds)", ["", "p50", "p99", "x smallest call", "processor time"])
    for name in commands:
        table.row(
            name,
            text(samples.median(name)),
            text(samples.p99(name)),
            text(samples.ratio(name, CALL)),
            text(samples.median(f"{name}/processor")),
        )
    result.tables.append(table)
    result.remarks.append(
        f"`headgate --version` takes {samples.ratio(VERSION, PASS):.1f} times as long as Python that does nothing, which took "
        f"{text(samples.median(PASS))} ms in this run (9 ms where nothing else runs)."
    )
    result.goal("headgate --version", samples.median(VERSION), 50, "ms")
    result.goal("headgate status / smallest cold gRPC call", samples.ratio(STATUS, CALL), 1.8)


def _children_seconds() -> float:
    """Return the processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _idle(result: Result, daemons: dict[str, Daemon], seconds: float) -> None:
    time.sleep(3)  # What comes after a start or a deployment.
    before = {name: daemon.weigh() for name, daemon in daemons.items()}
    time.sleep(seconds)
    table = Table(f"Idle for {seconds:.0f} s", ["", "processor (%)", "wake-ups a second", "memory (MB)"])
    shares = {}
    for name, daemon in daemons.items():
        after = daemon.weigh()
        shares[name] = _share(before[name], after, seconds)
        wakeups = (after.wakeups - before[name].wakeups) / seconds
        table.row(name, f"{shares[name]:.3f}", text(wakeups), text(after.rss_mb))
        result.goal(f"memory of an idle daemon, {name}", after.rss_mb, 60, "MB")
    result.tables.append(table)
    nothing, watched = shares.items()
    result.goal(f"processor time of an idle daemon, {nothing[0]}", nothing[1], 0.05, "%")
    result.goal(f"processor time of an idle daemon, {watched[0]}", watched[1], 0.2, "%")


def _share(before: Weight, after: Weight, seconds: float) -> float:
    return (after.cpu_seconds - before.cpu_seconds) / seconds * 100
