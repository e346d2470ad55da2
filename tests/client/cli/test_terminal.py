"""In a real terminal: typed at, looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from tests.client.cli.window import SLOW, Terminal, needs_tmux
from tests.client.conftest import until

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
        window.type(f"clear; headgate {verb}; echo {verb.split()[0]}=$?", "Enter")
        window.shows(f"\n{verb.split()[0]}=0")
        lines = window.lines()
        wide = [line for line in lines if len(line) > columns]
        assert all(line.strip() in told or "headgated" in line for line in wide), wide
        if verb != "status" or columns >= 80:  # Where there is no room it leaves out the ids.
            assert set(told) <= {word for line in lines for word in line.split()}, lines
    window.type("clear; headgate deployments | cat; echo pipe=$?", "Enter")
    window.shows("\npipe=0")
    assert sum("because " * 8 in line for line in window.lines()) == 2, "nothing is cut in a pipe"


@needs_tmux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "told"),
    [("watch", "all environments"), ("watch canal-with-a-long-name", "canal-with-a-long-name")],
)
def test_watch_says_what_it_watches_then_what_happens_and_ends_when_interrupted(
    terminal: Callable[[int], Terminal], fake: FakeDaemon, verb: str, told: str
) -> None:
    window = terminal(120)
    window.type(f"clear; headgate {verb}; echo code=$?", "Enter")
    window.shows(f"headgate: watching {told}; nothing has happened yet, Ctrl-C ends it")
    with fake.client() as client:
        asked = client.deploy("canal-with-a-long-name").deployment_id
    window.shows(f"{asked}  SUCCESS")
    window.type("C-c")
    window.shows("\ncode=130")
    lines = window.lines()
    assert lines[-4].partition("  ")[2].startswith(f"canal-with-a-long-name  {asked}  SUCCESS"), lines
    assert lines[-3:] == ["^C", "code=130", "ready>"]


@needs_tmux
@pytest.mark.slow
def test_watch_for_programs_prints_nothing_but_json(
    terminal: Callable[[int], Terminal], fake: FakeDaemon, short_path: Path
) -> None:
    window = terminal(120)
    window.type(f"clear; headgate watch -o json > {short_path}/out; echo code=$?", "Enter")
    window.shows("headgate: watching all environments; nothing has happened yet")
    assert (short_path / "out").read_text() == ""
    with fake.client() as client:
        asked = client.deploy("canal-with-a-long-name").deployment_id
    until(lambda: '"success"' in (short_path / "out").read_text())
    window.type("C-c")
    window.shows("\ncode=130")
    for line in (short_path / "out").read_text().splitlines():
        assert json.loads(line)["deployment"]["deployment_id"] == asked


@needs_tmux
@pytest.mark.slow
def test_interrupted_wait_says_that_the_deployment_goes_on_and_what_to_do(
    terminal: Callable[[int], Terminal], fake: FakeDaemon
) -> None:
    window = terminal(120)
    with fake.busy():
        window.type("clear; headgate deploy canal-with-a-long-name; echo code=$?", "Enter")
        window.shows(": waits")
        window.type("C-c")
        window.shows("\ncode=130")
        with fake.client() as client:
            (asked,) = (each.deployment_id for each in client.list_deployments())
        assert window.lines()[-4:] == [
            f"headgate: interrupted; {asked} goes on",
            f"  try: headgate show {asked}; or stop it: headgate cancel {asked}",
            "code=130",
            "ready>",
        ]
        window.type(f"clear; headgate cancel {asked}", "Enter")
        window.shows(f"{asked}: cancelled")


@needs_tmux
@pytest.mark.slow
def test_configuration_is_checked_and_every_fault_is_told_with_its_line(
    terminal: Callable[[int], Terminal], short_path: Path
) -> None:
    good, bad = short_path / "good.toml", short_path / "bad.toml"
    good.write_text('[daemon]\nstate_directory = "/var/lib/elsewhere"\n')
    bad.write_text('[daemon]\nlog_level = "loud"\n\n[limits]\nmax_files = -3\n[nonsense]\n')
    window = terminal(120)
    window.type(f"clear; headgated --check-config --config {good} 2>/dev/null; echo code=$?", "Enter")
    window.shows(f"{good} is right\ncode=0")
    window.type(f"clear; headgated --check-config --config {bad}; echo code=$?", "Enter")
    window.shows("\ncode=2")
    told = window.lines()
    assert told[-6:-2] == [
        f"headgated: cannot read {bad}: 3 things are wrong",
        "  line 2: daemon.log_level: must be one of debug, info, warning, error (got 'loud')",
        "  line 5: limits.max_files: must be a whole number between 1 and 100000000 (got -3)",
        "  line 6: nonsense: is unknown",
    ]
    bad.write_text("[daemon]\nbogus = 1\n")
    window.type(f"clear; headgated --check-config --config {bad}; echo again=$?", "Enter")
    window.shows(f"headgated: cannot read {bad}: line 2: daemon.bogus: is unknown", "\nagain=2")


def every_verb(command: click.Command) -> Iterator[click.Command]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            verb = command.get_command(click.Context(command), name)
            assert verb is not None
            yield from every_verb(verb)
    yield command


def test_every_verb_is_described_in_a_few_words() -> None:
    """Lists of verbs and completion have room for 45 letters."""
    for verb in every_verb(headgate):
        assert verb is headgate or not verb.get_short_help_str(45).endswith("..."), verb.name


def test_every_verb_takes_the_options_of_all() -> None:
    for verb in every_verb(headgate):
        assert {"output", "address"} <= {parameter.name for parameter in verb.params}, verb.name
