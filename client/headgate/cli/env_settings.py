"""`headgate env create` and `env set`: settings as options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from headgate.cli.arguments import EnvironmentName, absolute, pairs
from headgate.cli.env import print_done
from headgate.cli.moments import Span
from headgate.cli.session import Session, with_session
from headgate.cli.verb import Verb
from headgate.errors import ConflictError, Fault, NotFoundError, told_together

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.v1.environment_pb2 import Environment

TYPES = ("development", "staging", "production", "testing")
UNDEFINED = ("keep", "error")
STRATEGIES = ("in-place", "atomic")
DRIFT = ("report", "heal", "refuse")

_TRIES = 5
_Function = TypeVar("_Function", bound=Callable[..., Any])
_POLICIES = (
    click.option(
        "--prune/--no-prune", default=None, help="Remove files that left the sources. Default: yes."
    ),
    click.option("--verbatim", multiple=True, metavar="GLOB", help="Files to copy without rendering."),
    click.option(
        "--undefined", type=click.Choice(UNDEFINED), help="What to do with undeclared names. Default: keep."
    ),
    click.option(
        "--strategy",
        type=click.Choice(STRATEGIES),
        help="How changes reach the target: file by file (in-place, the default), or the whole directory at once (atomic).",
    ),
    click.option(
        "--drift", type=click.Choice(DRIFT), help="What to do about edits at the target. Default: report."
    ),
    click.option(
        "--owner", metavar="OWNER", help="Of deployed files: keep, source or user:group. Default: keep."
    ),
    click.option(
        "--mode", metavar="MODE", help="Of deployed files: source, keep, or like 0640. Default: source."
    ),
    click.option(
        "--secret-mode",
        metavar="MODE",
        help="The permission bits that a file with secrets may have, like 0640. Default: 0600.",
    ),
    click.option(
        "--allow-external-symlinks/--no-allow-external-symlinks",
        default=None,
        help="Deploy symbolic links that lead out of the tree. Default: no.",
    ),
    click.option("--settle-quiet", type=Span(), help="Deploy when the sources have been quiet for so long."),
    click.option("--settle-latest", type=Span(), help="Deploy after so long even if they are never quiet."),
    click.option(
        "--check",
        "checks",
        multiple=True,
        metavar="NAME",
        help="A check that the daemon's configuration defines.",
    ),
    click.option("--reload", "reloads", multiple=True, metavar="NAME", help="A reload command, likewise."),
    click.option("--health", multiple=True, metavar="NAME", help="A health probe, likewise."),
)


def _settings_options(*, create: bool) -> Callable[[_Function], _Function]:
    """Add the options for every setting of an environment."""
    replaces = "" if create else " Replaces those there are."
    adds = "" if create else " Adds to those there are, or replaces its value."
    options = (
        click.option("--type", type=click.Choice(TYPES), required=create, help="What it is for."),
        click.option(
            "--target", type=click.Path(), required=create, metavar="DIR", help="Where configuration goes to."
        ),
        click.option(
            "--source",
            "sources",
            multiple=True,
            required=create,
            type=click.Path(file_okay=False),
            metavar="DIR",
            help=f"Directory it subscribes to; a later one lays over an earlier one.{replaces}",
        ),
        click.option(
            "--var", "variables", multiple=True, metavar="K=V", help=f"A value for rendering.{adds}"
        ),
        click.option(
            "--secret",
            "secrets",
            multiple=True,
            metavar="K=REF",
            help=f"Where a secret is: credential:NAME, file:/PATH, env:NAME or command:NAME; never a value.{adds}",
        ),
        click.option(
            "--auto-sync/--no-auto-sync",
            default=None,
            help="Deploy changes unasked. Default: all but production.",
        ),
        *_POLICIES,
    )

    def add(function: _Function) -> _Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@click.command("create", cls=Verb)
@click.argument("name")
@_settings_options(create=True)
@with_session
def create(
    session: Session,
    name: str,
    *,
    variables: tuple[str, ...],
    secrets: tuple[str, ...],
    **options: Any,  # noqa: ANN401 -- one for each setting
) -> None:
    """Create an environment. Relative directories are taken from here."""
    faults: list[Fault] = []
    wanted = _settings(options)
    wanted["variables"] = pairs("--var", variables, faults)
    wanted["secrets"] = pairs("--secret", secrets, faults)
    with session.client() as client, told_together(f"create environment {name}", faults):
        environment = client.create_environment(name, **wanted, validate_only=bool(faults))
    print_done(session, environment, f"created; auto-sync is {'on' if environment.auto_sync else 'off'}")


@click.command("set", cls=Verb, short_help="Change settings of an environment.")
@click.argument("name", type=EnvironmentName())
@_settings_options(create=False)
@click.option("--unset-var", "unset_variables", multiple=True, metavar="K", help="Take a variable away.")
@click.option("--unset-secret", "unset_secrets", multiple=True, metavar="K", help="Take a secret away.")
@with_session
def set_(  # the name `set` is Python's
    session: Session,
    name: str,
    *,
    variables: tuple[str, ...],
    secrets: tuple[str, ...],
    unset_variables: tuple[str, ...],
    unset_secrets: tuple[str, ...],
    **options: Any,  # noqa: ANN401 -- one for each setting
) -> None:
    """Change settings of an environment: exactly those given."""
    faults: list[Fault] = []
    edits = {
        "variables": _Edit("--unset-var", pairs("--var", variables, faults), unset_variables),
        "secrets": _Edit("--unset-secret", pairs("--secret", secrets, faults), unset_secrets),
    }
    for edit in edits.values():
        faults += edit.faults()
    wanted = _settings(options)
    nothing = not wanted and not any(edits.values())
    if nothing and not faults:
        raise click.UsageError("no setting is given", click.get_current_context())
    with session.client() as client, told_together(f"change environment {name}", faults):
        environment = (
            client.get_environment(name)
            if nothing
            else _change(client, name, wanted, edits, validate_only=bool(faults))
        )
    print_done(session, environment, f"changed (generation {environment.generation})")


class _Edit:
    """What is to change in a table of texts by name."""

    def __init__(self, unset_option: str, added: dict[str, str], removed: Iterable[str]) -> None:
        self._unset_option, self._added, self._removed = unset_option, added, tuple(removed)

    def __bool__(self) -> bool:
        return bool(self._added or self._removed)

    def faults(self) -> list[Fault]:
        """Return what cannot be meant."""
        both = sorted(self._added.keys() & set(self._removed))
        return [Fault(self._unset_option, f"{key!r:.80} is also given a value") for key in both]

    def of(self, present: dict[str, str]) -> dict[str, str]:
        """Return the table afterwards."""
        return {key: value for key, value in {**present, **self._added}.items() if key not in self._removed}


def _change(
    client: Client, name: str, wanted: dict[str, Any], edits: dict[str, _Edit], *, validate_only: bool
) -> Environment:
    """Update; where a table is edited, read it first and begin again if somebody else was faster."""
    if not any(edits.values()):
        return client.update_environment(name, **wanted, validate_only=validate_only)
    for tries_left in reversed(range(_TRIES)):
        try:
            present = client.get_environment(name)
        except NotFoundError:  # What else is wrong with the change, the daemon knows.
            added: dict[str, Any] = {key: edit.of({}) for key, edit in edits.items() if edit}
            client.update_environment(name, **wanted, **added, validate_only=True)
            raise
        tables: dict[str, Any] = {
            key: edit.of(dict(getattr(present, key))) for key, edit in edits.items() if edit
        }
        try:
            return client.update_environment(
                name,
                **wanted,
                **tables,
                expected_generation=present.generation,
                validate_only=validate_only,
            )
        except ConflictError:
            if not tries_left:
                raise
    raise AssertionError("not reached")


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the options give, in the shape of the client's."""
    given = {key: value for key, value in options.items() if value is not None and value != ()}
    wanted: dict[str, Any] = {}
    if "type" in given:
        wanted["type"] = given.pop("type")
    if "target" in given:
        wanted["config_path"] = absolute(given.pop("target"))
    if "sources" in given:
        wanted["sources"] = [absolute(source) for source in given.pop("sources")]
    if "auto_sync" in given:
        wanted["auto_sync"] = given.pop("auto_sync")
    return {**wanted, "policies": given} if given else wanted
