"""Whoever reads a target while it is deployed to never sees half a file (promise 1); with strategy atomic, no mixed tree either."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.torture.scale import times

from headgated import ConfigurationDeployer
from headgated.core.environment import Policies, Strategy

pytestmark = [pytest.mark.torture, pytest.mark.slow]

FILES = 20
READER = """
import hashlib, pathlib, signal, sys
root, reads, torn, missing = pathlib.Path(sys.argv[1]), 0, 0, 0
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while going:
    for number in range(int(sys.argv[2])):
        try:
            content = (root / f"f{number}").read_bytes()
        except FileNotFoundError:
            missing += 1
            continue
        reads += 1
        torn += hashlib.sha256(content[64:]).hexdigest().encode() != content[:64]
print(reads, torn, missing)
"""


def write_all(source: Path, generation: int) -> None:
    """Write files of different sizes, each beginning with the checksum of the rest."""
    for number in range(FILES):
        rest = os.urandom(1000 + 7919 * ((number + generation) % 13))
        (source / f"f{number}").write_bytes(hashlib.sha256(rest).hexdigest().encode() + rest)


@pytest.mark.timeout(100_000)
def test_reader_never_sees_a_torn_or_missing_file(quick: Path) -> None:
    source, target = quick / "source", quick / "target"
    source.mkdir()
    write_all(source, 0)
    with ConfigurationDeployer(quick / "state") as deployer:
        deployer.create_environment("web", "testing", target, sources=[source])
        first = deployer.deploy_configuration("web")
        with subprocess.Popen(
            [sys.executable, "-c", READER, target, str(FILES)], stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
            try:
                for generation in range(1, 1 + times(50)):
                    write_all(source, generation)
                    deployer.deploy_configuration("web")
                    if generation % 20 == 0:
                        deployer.restore_deployment(first.deployment_id)
            finally:
                reader.send_signal(signal.SIGTERM)
            reads, torn, missing = map(int, reader.stdout.readline().split())
    print({"reads": reads, "torn": torn, "missing": missing})  # noqa: T201 - the figures are what a long run is made for
    assert reads > FILES
    assert (torn, missing) == (0, 0)


TREE_READER = """
import os, signal, sys
root, reads, mixed, broken = sys.argv[1], 0, 0, 0
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
def read(directory, found):
    for name in sorted(os.listdir(directory)):
        if name.startswith("."):
            continue
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
        except NotADirectoryError:
            fd = os.open(name, os.O_RDONLY, dir_fd=directory)
            found.append((name, os.read(fd, 100)))
        else:
            read(fd, found)
        os.close(fd)
while going:
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    found = []
    try:
        read(top, found)
        whole = os.fstat(top).st_ino == os.stat(root).st_ino
    except FileNotFoundError:
        whole = False  # it is no longer at the path, and is removed: open it anew
        if os.fstat(top).st_ino == os.stat(root).st_ino:
            broken += 1
    os.close(top)
    if whole:
        reads += 1
        generations = {content for _, content in found}
        mixed += len(generations) != 1 or len(found) != int(generations.pop()) % 7 + 10
print(reads, mixed, broken)
"""


def write_generation(source: Path, generation: int) -> None:
    """Write a generation's number into every file of a tree; how many there are depends on it, too."""
    for number in range(16):
        path = source / ("" if number % 3 else f"d{number % 2}") / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        if number < generation % 7 + 10:
            path.write_text(str(generation))
        else:
            path.unlink(missing_ok=True)


@contextmanager
def reading(target: Path, into: list[int]) -> Iterator[None]:
    """Have a process read all of the target in a loop; what it counted comes in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", TREE_READER, target], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            reader.send_signal(signal.SIGTERM)
        into += map(int, reader.stdout.readline().split())


@pytest.mark.timeout(100_000)
def test_reader_of_an_atomic_target_never_sees_a_mixed_tree(quick: Path) -> None:
    """Whoever opens the target by its path and reads through that gets one generation, whole."""
    source, target = quick / "source", quick / "target"
    source.mkdir()
    write_generation(source, 0)
    deployments, one, other = 1, list[int](), list[int]()
    with ConfigurationDeployer(quick / "state") as deployer:
        deployer.create_environment("web", "testing", target, sources=[source])
        deployer.change_environment("web", lambda e: replace(e, policies=Policies(strategy=Strategy.ATOMIC)))
        deployer.deploy_configuration("web")
        with reading(target, one), reading(target, other):
            for generation in range(1, 1 + times(40)):
                write_generation(source, generation)
                done = deployer.deploy_configuration("web")
                deployments += 1
                if generation % 5 == 0:
                    deployer.rollback_deployment(done.deployment_id)
                    deployments += 1
    reads, mixed, broken = (a + b for a, b in zip(one, other, strict=True))
    print({"deployments": deployments, "reads": reads, "mixed": mixed, "broken": broken})  # noqa: T201 - as above
    assert reads > 2 * deployments
    assert (mixed, broken) == (0, 0)
