"""What a request changes in an environment.

A request names fields by paths of the protocol (`variables`, `policies.prune`); reading it gives a patch, which makes the
changed environment from the present one whenever it is asked to. A created environment is a patch of every field on a blank
one. Promises that a field that is not named stays as it is, and that a named one that the request leaves unset gets its
default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert import choices
from headgated.api.convert.checks import Checks
from headgated.api.convert.values import real_path
from headgated.core import environment as model

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_SOURCES = 1000
_OUTPUT_ONLY = ("created_at", "updated_at", "generation", "sync")
_WHOLE = ("variables", "secrets", "sources")
_DEFAULTS = model.Policies()


@dataclass(frozen=True, slots=True)
class EnvironmentPatch:
    """New values for fields of an environment. Equal requests give patches that are equal and look equal."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    """By the model's names; `auto_sync` None: the default of the type."""
    policies: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, environment: model.Environment) -> model.Environment:
        """Return `environment` with the new values."""
        changed = replace(environment, **self.fields, policies=replace(environment.policies, **self.policies))
        if self.fields.get("auto_sync", False) is None:
            return replace(changed, auto_sync=model.auto_sync_by_default(changed.type))
        return changed


def blank(name: str) -> model.Environment:
    """Return an environment with nothing in it that the rules of the model complain of, but perhaps its name."""
    return model.Environment(name, model.EnvironmentType.TESTING, "/", created_at=_NEVER, updated_at=_NEVER)


def apply_mask(
    environment: model.Environment, message: wire.Environment, paths: Iterable[str]
) -> model.Environment:
    """Return `environment` with the fields that `paths` names taken from `message`.

    Raises:
        InvalidRequestError: every path that names no field that can change, and every value that cannot be right.
    """
    checks = Checks()
    patch = read_patch(checks, message, paths)
    checks.close(f"update environment {environment.name}")
    return patch(environment)


def read_patch(checks: Checks, message: wire.Environment, paths: Iterable[str]) -> EnvironmentPatch:
    """Read the fields that `paths` names from `message`."""
    fields: dict[str, Any] = {}
    policies: dict[str, Any] = {}
    for index, path in enumerate(paths):
        head, _, rest = path.partition(".")
        if path in FIELDS:
            fields[path] = FIELDS[path](checks, message)
        elif path == "policies":
            policies |= {name: read(checks, message.policies) for name, read in POLICIES.items()}
        elif head == "policies" and rest in POLICIES:
            policies[rest] = POLICIES[rest](checks, message.policies)
        else:
            checks.add(f"update_mask.paths[{index}]", _refusal(path))
    return EnvironmentPatch(dict(sorted(fields.items())), dict(sorted(policies.items())))


def _refusal(path: str) -> str:
    head = path.partition(".")[0]
    if head == "name":
        return "the name of an environment cannot change"
    if head in _OUTPUT_ONLY:
        return f"'{head}' is set by the daemon"
    if head in _WHOLE:
        return f"'{head}' is replaced whole; name '{head}' (got {path!r:.80})"
    return f"{path!r:.80} is no field of an environment that can change"


def _sources(checks: Checks, message: wire.Environment) -> tuple[str, ...]:
    if len(message.sources) > _SOURCES:
        checks.add("environment.sources", f"names more than {_SOURCES}")
        return ()
    return tuple(map(real_path, message.sources))


def _type(checks: Checks, message: wire.Environment) -> model.EnvironmentType:
    read = checks.choice("environment.type", message.type, choices.received(choices.TYPES))
    return read or model.EnvironmentType.TESTING


FIELDS: Mapping[str, Callable[[Checks, wire.Environment], Any]] = {
    "type": _type,
    "config_path": lambda _, message: real_path(message.config_path),
    "sources": _sources,
    "variables": lambda checks, message: checks.mapping("environment.variables", message.variables),
    "secrets": lambda checks, message: checks.mapping("environment.secrets", message.secrets),
    "auto_sync": lambda _, message: message.auto_sync if message.HasField("auto_sync") else None,
}
"""How each field is read, by its name in the protocol, which is also the model's."""


def _flag(name: str, *, default: bool) -> Callable[[Checks, wire.Policies], bool]:
    return lambda _, policies: bool(getattr(policies, name)) if policies.HasField(name) else default  # type: ignore[arg-type]


def _names(name: str) -> Callable[[Checks, wire.Policies], tuple[str, ...]]:
    return lambda checks, policies: checks.listed(f"environment.policies.{name}", getattr(policies, name))


def _choice(name: str, sent: Mapping[Any, int], default: Any) -> Callable[[Checks, wire.Policies], Any]:  # noqa: ANN401 - any enum
    table = choices.received(sent)
    return lambda checks, policies: checks.choice(
        f"environment.policies.{name}", getattr(policies, name), table, default
    )


def _span(name: str) -> Callable[[Checks, wire.Policies], float | None]:
    def read(checks: Checks, policies: wire.Policies) -> float | None:
        if not policies.HasField(name):  # type: ignore[arg-type]
            return None
        return checks.seconds(f"environment.policies.{name}", getattr(policies, name))

    return read


POLICIES: Mapping[str, Callable[[Checks, wire.Policies], Any]] = {
    "prune": _flag("prune", default=_DEFAULTS.prune),
    "verbatim": _names("verbatim"),
    "undefined": _choice("undefined", choices.UNDEFINED, _DEFAULTS.undefined),
    "strategy": _choice("strategy", choices.STRATEGIES, _DEFAULTS.strategy),
    "drift": _choice("drift", choices.DRIFT, _DEFAULTS.drift),
    "owner": lambda _, policies: policies.owner or _DEFAULTS.owner,
    "mode": lambda _, policies: policies.mode or _DEFAULTS.mode,
    "secret_mode": lambda _, policies: (
        policies.secret_mode if policies.HasField("secret_mode") else _DEFAULTS.secret_mode
    ),
    "allow_external_symlinks": _flag("allow_external_symlinks", default=_DEFAULTS.allow_external_symlinks),
    "settle_quiet": _span("settle_quiet"),
    "settle_latest": _span("settle_latest"),
    "checks": _names("checks"),
    "reloads": _names("reloads"),
    "health": _names("health"),
}
"""How each policy is read, by its name in the protocol, which is also the model's."""
