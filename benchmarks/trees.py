"""Trees of files to measure with, and the file in them that changes: it says in each of its lines which version it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

TO_A_DIRECTORY = 100
HOT_BYTES = 4096
VARIABLE = "CANAL"
VALUE = "opengate"
"""As long as `${CANAL}`: the rendered file has the size of its source."""


def grow(root: Path, files: int, size: int, seed: int = 0) -> None:
    """Make `files` files of `size` bytes, 100 to a directory, an hour old. The same `seed` gives the same content."""
    then = time.time() - 3600  # rsync takes what has one size and one second for equal
    for number in range(files):
        path = root / place(number)
        if number % TO_A_DIRECTORY == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(filler(number, size, seed))
        os.utime(path, (then, then))


def place(number: int) -> str:
    """Return where in its tree a file is."""
    return f"d{number // TO_A_DIRECTORY:04d}/f{number:06d}.conf"


def filler(number: int, size: int, seed: int = 0) -> bytes:
    """Return the content of a file: lines such as configuration has, no two files alike."""
    line = f"gate.{number:06d}.{seed:06d} = open # nothing to put in here\n".encode()
    return (line * (size // len(line) + 1))[: size - 1] + b"\n"


def clone(tree: Path, to: Path) -> None:
    """Make a tree of hard links: the same files under directories of its own, in a fraction of the time."""
    for directory, _names, files in os.walk(tree):
        there = to / os.path.relpath(directory, tree)
        there.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.link(os.path.join(directory, name), there / name)


def hot(number: int, *, size: int = HOT_BYTES, rendered: bool = False) -> bytes:
    """Return version `number` of the file that changes, of about `size` bytes: what `limits/observer.c` understands.

    One version after the other is a byte shorter: rsync takes files of one size and the same second for equal.
    """
    value = VALUE if rendered else "${" + VARIABLE + "}"
    line = f"{number:08d} gate = {value} # a line like any other ........\n".encode()
    end = f"{number:08d} end\n".encode()
    room = size - number % 100 - len(end)
    lines = line * (room // len(line))
    rest = room - len(lines)
    if rest < 10:
        lines, rest = lines[: -len(line)], rest + len(line)
    return lines + f"{number:08d} ".encode() + b"." * (rest - 10) + b"\n" + end


def differences(source: Path, target: Path, *, except_for: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the files of `source` whose bytes the target has not, and those that only the target has."""
    seen = set()
    for directory, _names, files in os.walk(source):
        for name in files:
            path = Path(directory, name)
            relative = str(path.relative_to(source))
            seen.add(relative)
            there = target / relative
            if relative not in except_for and (not there.exists() or there.read_bytes() != path.read_bytes()):
                yield relative
    for directory, _names, files in os.walk(target):
        yield from (
            relative
            for name in files
            if (relative := str(Path(directory, name).relative_to(target))) not in seen
            and relative not in except_for
        )
