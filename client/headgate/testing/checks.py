"""What is wrong with a request, every fault at once."""

from __future__ import annotations

import re
from collections.abc import Mapping

from headgate.errors import Fault, refuse
from headgate.v1 import environment_pb2 as ep

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"credential:[\w.@-]+|file:/.+|env:[A-Za-z_]\w*|command:.+", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_LARGEST_PAGE, _LONGEST_ID = 1000, 128
_AFTER = "after:"


def named(field: str, name: str) -> list[Fault]:
    """Check the name of an environment."""
    if not name:
        return [Fault(field, "is missing")]
    rule = "must be lower-case letters, digits and hyphens, begin with a letter, at most 63"
    return [] if _NAME.fullmatch(name) else [Fault(field, f"{rule} (got {name!r:.80})")]


def identified(field: str, deployment_id: str) -> list[Fault]:
    """Check the id of a deployment."""
    if not deployment_id:
        return [Fault(field, "is missing")]
    return [] if _ID.fullmatch(deployment_id) else [Fault(field, "is not the id of a deployment")]


def repeatable(request_id: str) -> list[Fault]:
    """Check a request id."""
    return [Fault("request_id", "is longer than 128 characters")] if len(request_id) > _LONGEST_ID else []


def described(wanted: ep.Environment) -> list[Fault]:
    """Check an environment by itself."""
    found = named("environment.name", wanted.name)
    if not wanted.type:
        found.append(Fault("environment.type", "is missing"))
    found += _absolute("environment.config_path", wanted.config_path)
    for index, source in enumerate(wanted.sources):
        found += _absolute(f"environment.sources[{index}]", source)
    if len(set(wanted.sources)) != len(wanted.sources):
        found.append(Fault("environment.sources", "names a directory twice"))
    return found + _variables(wanted.variables) + _references(wanted.secrets)


def placed(wanted: ep.Environment, others: Mapping[str, ep.Environment]) -> list[Fault]:
    """Check that an environment's target is in nobody's way; what is no path is in nobody's."""
    if not wanted.config_path.startswith("/"):
        return []
    found = [
        Fault(f"environment.sources[{index}]", f"{source} overlaps the target {wanted.config_path}")
        for index, source in enumerate(wanted.sources)
        if source not in wanted.sources[:index] and _overlap(source, wanted.config_path)
    ]
    return found + [
        Fault("environment.config_path", f"{wanted.config_path} overlaps the target of {other.name}")
        for other in others.values()
        if other.name != wanted.name and _overlap(other.config_path, wanted.config_path)
    ]


def page(items: list[str], size: int, token: str, usual: int, what: str) -> tuple[list[str], str]:
    """Return the names on a page, and the token of the next one; it says after which name that begins."""
    found, last = [], token.removeprefix(_AFTER)
    if size > _LARGEST_PAGE:
        found.append(Fault("page_size", f"must be at most {_LARGEST_PAGE} (got {size})"))
    if token and not token.startswith(_AFTER):
        found.append(Fault("page_token", "is not one that this daemon gave"))
    refuse(what, found)
    # It may be gone; only names of environments can be, and those are in order.
    first = items.index(last) + 1 if last in items else sum(item <= last for item in items)
    taken = items[first : first + (size or usual)]
    return taken, _AFTER + taken[-1] if first + len(taken) < len(items) else ""


def _absolute(field: str, path: str) -> list[Fault]:
    if not path:
        return [Fault(field, "is missing")]
    return [] if path.startswith("/") else [Fault(field, f"must be an absolute path (got {path!r:.200})")]


def _references(secrets: Mapping[str, str]) -> list[Fault]:
    rule = "must be a reference, not a value: credential:NAME, file:/PATH, env:NAME or command:NAME"
    return [
        Fault(f"environment.secrets.{name}", rule)
        for name, reference in secrets.items()
        if not _SECRET.fullmatch(reference)
    ]


def _variables(variables: Mapping[str, str]) -> list[Fault]:
    rule = "must be a letter or underscore, then letters, digits, underscores"
    return [
        Fault(f"environment.variables.{name}", rule) for name in variables if not _VARIABLE.fullmatch(name)
    ]


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
