"""Environments written in a file: TOML, YAML or JSON.

One environment at the top level, or several under `environments`: a list, or a table by name. Everything wrong is found, not only
the first. What `headgate env show NAME -o json` prints can be read back: what only the daemon says is passed over.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.errors import Fault, InvalidRequestError

FORMATS = ("toml", "yaml", "json")
_BY_SUFFIX = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
_SAID_BY_THE_DAEMON = frozenset(
    {"schema_version", "generation", "created_at", "updated_at", "hold", "halt", "pause", "marks", "sync"}
)


@dataclass(frozen=True, slots=True)
class Written:
    """One environment of a file."""

    name: str
    """Empty where the file says none; a fault then."""
    settings: Mapping[str, object]
    place: str
    """Where in the file, for faults: empty for a single one, else `environments.NAME.`."""

    def at(self, field: str) -> str:
        """Return where in the file a field is; of the environment as a whole (no field), where that is."""
        return f"{self.place}{field}" if field else self.place.rstrip(".") or self.name


def format_of(path: str) -> str | None:
    """Return the format that a file's name tells, if it does."""
    return _BY_SUFFIX.get(Path(path).suffix.lower())


def read(what: str, text: bytes, form: str) -> tuple[list[Written], list[Fault]]:
    """Read the environments of a file, and what is wrong with how they are arranged.

    Raises:
        InvalidRequestError: it is no TOML, YAML or JSON.
    """
    faults: list[Fault] = []
    return list(_environments(_parse(what, text, form), faults)), faults


def _parse(what: str, text: bytes, form: str) -> object:
    try:
        if form == "toml":
            return tomllib.loads(text.decode())
        if form == "json":
            return json.loads(text, object_pairs_hook=_once)
        return _parse_yaml(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(
            what, [Fault(form, " ".join(str(error).split()) or "is nested too deeply")]
        ) from error


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a table of JSON, where a key that is written twice would silently count once."""
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _parse_yaml(text: bytes) -> object:
    import yaml  # noqa: PLC0415 -- only needed here

    class Loader(yaml.SafeLoader):
        """Safe, and a key that is written twice is an error."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002 -- as the library has it
            seen: set[str] = set()
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise ValueError(f"the key {key.value!r} is there twice (line {line})")
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 -- a safe loader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _environments(document: object, faults: list[Fault]) -> Iterator[Written]:
    if not isinstance(document, Mapping):
        faults.append(Fault("file", "must be a table: one environment, or several under environments"))
        return
    if "environments" not in document:
        yield from _one(document, "", None, faults)
        return
    faults += [
        Fault(str(key), "is not known beside environments") for key in document if key != "environments"
    ]
    several = document["environments"]
    if isinstance(several, Mapping):
        for name, body in several.items():
            yield from _one(body, f"environments.{name}.", str(name), faults)
    elif isinstance(several, list):
        for index, body in enumerate(several):
            name = body.get("name") if isinstance(body, Mapping) else None
            place = name if isinstance(name, str) and name else str(index)
            yield from _one(body, f"environments.{place}.", None, faults)
    else:
        faults.append(Fault("environments", "must be a list, or a table by name"))


def _one(body: object, place: str, key: str | None, faults: list[Fault]) -> Iterator[Written]:
    if not isinstance(body, Mapping):
        faults.append(Fault(place.rstrip("."), "must be a table"))
        return
    name = body.get("name", key)
    if not isinstance(name, str) or not name:
        faults.append(Fault(f"{place}name", "must be text" if name else "is missing"))
        name = ""
    elif key is not None and name != key:
        faults.append(Fault(f"{place}name", f"is not the name it stands under ({key})"))
    passed_over = _SAID_BY_THE_DAEMON | {"name"}
    settings = {str(each): value for each, value in body.items() if each not in passed_over}
    yield Written(name, settings, place)
