"""In a real terminal: typed at, looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from tests.client.cli.window import SLOW, Terminal, needs_tmux

from headgate.cli.root import headgate
from headgate.testing import FakeDaemon


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    with FakeDaemon() as daemon:
        daemon.write("/src", "app.conf", "one\n")
        with daemon.client() as client:
            client.create_environment(
                "canal-with-a-long-name", type="production", config_path="/t", sources=["/src"]
            )
        yield daemon


@pytest.fixture
def terminal(fake: FakeDaemon, short_path: Path) -> Iterator[Callable[[int], Terminal]]:
    made = []

    def open_(columns: int) -> Terminal:
        made.append(Terminal(short_path, fake.address, columns))
        made[-1].shows("ready>")
        return made[-1]

    yield open_
    for each in made:
        each.end()


@needs_tmux
@pytest.mark.slow
def test_names_are_completed_from_the_daemon(terminal: Callable[[int], Terminal]) -> None:
    window = terminal(100)
    window.type('eval "$(headgate completion bash)"; echo completes', "Enter")
    window.shows("\ncompletes")
    window.type("headgate plan c", "Tab")
    window.shows("headgate plan canal-with-a-long-name")


@needs_tmux
@pytest.mark.slow
def test_deployment_shows_that_it_waits_then_its_outcome_in_colour(
    terminal: Callable[[int], Terminal], fake: FakeDaemon
) -> None:
    window = terminal(100)
    with fake.busy():
        window.type("headgate deploy canal-with-a-long-name; echo code=$?", "Enter")
        window.shows(": waits")
    window.shows("code=0")
    assert ": waits" not in window.screen(), "the line of progress is gone"
    assert "\x1b[32mSUCCESS" in window.screen(colours=True)


@needs_tmux
@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 48, 60, 80, 120])
def test_tables_fit_the_terminal_and_names_are_whole(
    terminal: Callable[[int], Terminal], fake: FakeDaemon, columns: int
) -> None:
    with fake.client() as client:
        client.create_environment("web", type="staging", config_path="/srv/web" * 9, sources=["/src"])
        names = [each.name for each in client.list_environments()]
        ids = [client.deploy(name, reason="because " * 9).deployment_id for name in names]
        for deployment_id in ids:
            client.wait_for_deployment(deployment_id, SLOW)
    window = terminal(columns)
    for verb, told in (("env list", names), ("deployments", ids), ("status", [*names, *ids])):
        window.type(f"clear; headgate {verb}; echo code=$?", "Enter")
        window.shows("\ncode=0")
        lines = window.lines()
        wide = [line for line in lines if len(line) > columns]
        assert all(line.strip() in told or "headgated" in line for line in wide), wide
        if verb != "status" or columns >= 80:  # Where there is no room it leaves out the ids.
            assert set(told) <= {word for line in lines for word in line.split()}, lines
    window.type("clear; headgate deployments | cat", "Enter")
    window.shows("DEPLOYMENT")
    assert sum("because " * 8 in line for line in window.lines()) == 2, "nothing is cut in a pipe"


def every_verb(command: click.Command) -> Iterator[click.Command]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            verb = command.get_command(click.Context(command), name)
            assert verb is not None
            yield from every_verb(verb)
    yield command


def test_every_verb_takes_the_options_of_all() -> None:
    for verb in every_verb(headgate):
        assert {"output", "address"} <= {parameter.name for parameter in verb.params}, verb.name
