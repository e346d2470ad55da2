"""Whoever reads a target while it is deployed to never sees half a file (promise 1)."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.torture.scale import times

from headgated import ConfigurationDeployer

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
