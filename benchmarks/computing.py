"""Benchmark 5: rendering, planning and the difference of settings, each alone."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import resource
import subprocess
import time
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from benchmarks import machine
from benchmarks.figures import Samples, text
from benchmarks.result import Result, Table
from benchmarks.setting import Setting
from headgated.core.plan import affected, make_plan
from headgated.core.render import Renderer
from headgated.core.settings import settings_changed
from headgated.core.tree import Directory, Entry, Kind, build, edit

TITLE = "Rendering, planning, differences of settings, each alone"
HOW = """\
In one process, in memory, without the daemon, in processor time. *Rendering*: 1,000 files of 4 KB, 50 variables; dense: every line (of 100 bytes) refers to one; sparse: every
twelfth does; beside SHA-256 of the same bytes, one compiled expression with a callback (which knows neither defaults nor escapes), and one process of
GNU envsubst for all. *Planning*: from trees to the list of changes. *Settings*: one value of a file with 200 differs; beside the library's parser alone, which
has to read both."""

VARIABLES = {f"CANAL_{number:02d}": f"value number {number}" for number in range(50)}
FILES = 1_000
TIMES = 5
"""How often a difference of settings is made in one measurement."""


def run(setting: Setting) -> Result:
    """Measure."""
    rounds = 5 if setting.quick else 15
    result = Result("computing", TITLE, HOW, missing=machine.without("envsubst"))
    setting.say("computing: rendering")
    result.tables.append(_rendering(setting.fresh("computing"), rounds, result))
    setting.say("computing: planning")
    result.tables.append(_planning(10_000 if setting.quick else max(10_000, setting.most), rounds))
    setting.say("computing: settings")
    result.tables.append(_settings(rounds))
    return result


def _timed(jobs: dict[str, Callable[[], object]], rounds: int) -> Samples:
    """Run each job once a round, in random order; return its seconds of processor time, children's included, by name."""
    samples, order = Samples(), list(jobs)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            began = _processor_seconds()
            jobs[name]()
            samples.add(name, _processor_seconds() - began)
    return samples


def _processor_seconds() -> float:
    """Return what this process has used so far, to the nanosecond, and its children, to the microsecond."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _files(every: int) -> list[bytes]:
    """Make files with a reference on each `every`th line."""
    names = list(VARIABLES)
    made = []
    for number in range(FILES):
        lines: list[bytes] = []
        size = 0
        while size < 4096:
            name = names[(number + len(lines)) % len(names)]
            value = f"${{{name}}}" if len(lines) % every == 0 else "a value without anything"
            line = f"setting.{len(lines):03d}.of.file.{number:04d} = {value}"
            lines.append(f"{line:.<99}\n".encode())
            size += len(lines[-1])
        made.append(b"".join(lines))
    return made


def _rendering(home: Path, rounds: int, result: Result) -> Table:
    table = Table("Rendering (MB/s)", ["", "dense", "x SHA-256", "sparse", "x SHA-256"])
    speeds: dict[str, list[float]] = {}
    for files in (_files(1), _files(12)):
        renderer = Renderer(VARIABLES)
        for content in files[:20]:
            if renderer.render(content).content != _by_expression(content):
                raise RuntimeError("rendering is wrong")
        jobs: dict[str, Callable[[], object]] = {
            "Headgate": partial(_each, renderer.render, files),
            "one expression with a callback": partial(_each, _by_expression, files),
            "SHA-256": partial(_each, _digest, files),
        }
        if not result.missing:
            jobs["envsubst, one process"] = _envsubst(home, files)
        samples = _timed(jobs, rounds)
        for name in jobs:
            speeds.setdefault(name, []).append(sum(map(len, files)) / samples.median(name) / 1e6)
    for name, values in speeds.items():
        pairs = zip(values, speeds["SHA-256"], strict=True)
        table.row(name, *(cell for value, of in pairs for cell in (text(value), text(value / of))))
    result.goal_least("rendering, dense", speeds["Headgate"][0], 300, "MB/s")
    result.goal_least("rendering, sparse", speeds["Headgate"][1], 1200, "MB/s")
    return table


def _each(job: Callable[[bytes], object], files: list[bytes]) -> None:
    for one in files:
        job(one)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


_VALUES = {name.encode(): value.encode() for name, value in VARIABLES.items()}
_REFERENCE = re.compile(rb"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def _by_expression(content: bytes) -> bytes:
    return _REFERENCE.sub(lambda m: _VALUES.get(m[1] or m[2], m[0]), content)


def _envsubst(home: Path, files: list[bytes]) -> Callable[[], object]:
    whole = home / f"whole{len(list(home.iterdir()))}"
    whole.write_bytes(b"".join(files))

    def substitute() -> None:
        with whole.open("rb") as given:
            subprocess.run(
                ["envsubst"], stdin=given, stdout=subprocess.DEVNULL, env=os.environ | VARIABLES, check=True
            )

    return substitute


def _planning(size: int, rounds: int) -> Table:
    def entry(number: int, version: int) -> Entry:
        return Entry(Kind.FILE, 0o644, hashlib.sha256(b"%d %d" % (number, version)).digest(), 1024)

    paths = [b"d%04d/f%06d" % (number // 100, number) for number in range(size)]
    directories = {b"d%04d" % number: Entry(Kind.DIRECTORY, 0o755, b"", 0) for number in range(size // 100)}
    old = build(directories | {path: entry(number, 0) for number, path in enumerate(paths)})
    new = edit(old, {paths[number]: entry(number, 1) for number in range(0, size, 100)})
    one = edit(old, {paths[size // 2]: entry(size // 2, 1)})
    live = directories | {path: entry(number, 0) for number, path in enumerate(paths)}

    def plan(wanted: Directory) -> int:
        return len(make_plan(old, affected(old, wanted), live, {}, prune=True).changes)

    jobs: dict[str, Callable[[], object]] = {
        "one file changed, by comparing trees": lambda: plan(one),
        "1 % changed, by comparing trees": lambda: plan(new),
    }
    expected = (1, size // 100)
    for (name, job), count in zip(jobs.items(), expected, strict=True):
        if job() != count:
            raise RuntimeError(f"planning is wrong: {name}")
    samples = _timed(jobs, rounds)
    table = Table(f"Planning for {size:,} files", ["", "milliseconds", "million files/s of the tree"])
    for name in jobs:
        seconds = samples.median(name)
        table.row(name, text(seconds * 1e3), text(size / seconds / 1e6))
    return table


def _differ(path: bytes, old: bytes, new: bytes) -> None:
    for _ in range(TIMES):
        settings_changed(path, old, new)


def _parse(parse: Callable[[str], object], old: bytes, new: bytes) -> None:
    for _ in range(TIMES):
        parse(old.decode())
        parse(new.decode())


def _settings(rounds: int) -> Table:
    def tree(changed: int) -> dict[str, dict[str, object]]:
        return {
            f"gate{gate:02d}": {
                f"setting{number}": f"value {gate} {number} {changed if gate == number else ''}"
                for number in range(10)
            }
            for gate in range(20)
        }

    def ini(values: dict[str, dict[str, object]], quote: str) -> str:
        return "\n".join(
            f"[{gate}]\n" + "\n".join(f"{key} = {quote}{value}{quote}" for key, value in inner.items())
            for gate, inner in values.items()
        )

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    kinds: dict[str, tuple[Callable[[dict[str, dict[str, object]]], str], Callable[[str], object]]] = {
        "json": (json.dumps, json.loads),
        "yaml": (yaml.safe_dump, lambda words: yaml.load(words, loader)),
        "toml": (lambda values: ini(values, '"'), tomllib.loads),
    }
    jobs: dict[str, Callable[[], object]] = {}
    sizes = {}
    for kind, (write, parse) in kinds.items():
        old, new = write(tree(0)).encode(), write(tree(1)).encode()
        path = b"a." + kind.encode()
        if len(settings_changed(path, old, new) or ()) != 10:
            raise RuntimeError(f"the difference of settings is wrong: {kind}")
        sizes[kind] = len(old) + len(new)
        jobs[kind] = partial(_differ, path, old, new)
        jobs[f"{kind} alone"] = partial(_parse, parse, old, new)
    samples = _timed(jobs, rounds)
    table = Table("Differences of settings", ["", "files/s", "MB/s", "x the parser alone"])
    for kind in kinds:
        seconds = samples.median(kind) / TIMES
        table.row(
            kind,
            text(1 / seconds),
            text(sizes[kind] / seconds / 1e6),
            text(samples.ratio(kind, f"{kind} alone")),
        )
    return table
