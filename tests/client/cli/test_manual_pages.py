"""The manual pages: made from the documentation and the programs' own help, so nothing is missing in them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from headgate.cli.root import headgate

ROOT = Path(__file__).parents[3]
PAGES = ("headgate.1", "headgated.8", "headgated.toml.5")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, ROOT / "tools/manual_pages.py", directory], check=True, timeout=60)
    return directory


def verbs(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(command)
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(context):
        verb = command.get_command(context, name)
        assert verb is not None
        yield from verbs(verb, f"{path} {name}")


def test_every_verb_and_option_is_in_its_page(pages: Path) -> None:
    page = (pages / "headgate.1").read_text().replace(r"\-", "-")
    for path, verb in verbs(headgate, "headgate"):
        assert f".SS {path}\n" in page
        options = [each for each in verb.params if isinstance(each, click.Option)]
        assert all(option in page for each in options for option in each.opts), path


def test_exit_codes_files_and_keys_are_in_theirs(pages: Path) -> None:
    assert "6\nthe daemon cannot be reached" in (pages / "headgate.1").read_text().replace(r"\fB6\fR", "6")
    assert "/etc/headgate/headgated.toml" in (pages / "headgated.8").read_text()
    assert "stream_above" in (pages / "headgated.toml.5").read_text()


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_page_is_right_for_groff(pages: Path, name: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", pages / name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
