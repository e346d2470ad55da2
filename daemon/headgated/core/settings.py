"""Which settings of a structured file (JSON, YAML, TOML, INI, .env, XML, properties, units) changed, for people and records.

Comments, order and spelling (quotes, indentation) do not count; numbers in JSON count as they are written. A setting is named by
its way from the top, `servers[0].listen.port`; a part with a dot or other odd characters in it is quoted as in JSON. Lists
are compared item by item. Values that look like secrets by their names are hidden; that one changed is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headgated.core import formats
from headgated.core.deployment import SettingChange
from headgated.core.formats.node import Documents, Node, Scalar, UnclearError, json_text, scalar
from headgated.core.masking import MASK, USUAL, SecretNames, mask_text
from headgated.core.paths import escape

LISTED_SETTINGS = 1000
"""At most so many changes of one file are listed."""

_SETTINGS_IN_A_FILE = 100_000
_DEPTH = 100
_SHOWN_CHARACTERS = 1000
_NAMING = ("name", "key", "@name", "@key", "@id")
_NAMED = ("value", "@value", "#text", "string")
"""What is secret beside a name that looks so, as XML and lists of variables have it."""
_BARE = re.compile(r"[\w/@:*+<-]++")

Way = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Setting:
    value: Scalar
    hidden: bool


def settings_changed(
    path: bytes, old: bytes | None, new: bytes | None, *, names: SecretNames = USUAL
) -> tuple[SettingChange, ...] | None:
    """Return the settings that differ, ordered by name, at most `LISTED_SETTINGS`.

    Args:
        path: says by its last part what the file is.
        old, new: the contents; None: there is no file, and so no setting.
        names: say which settings are secret.

    Returns:
        None where that cannot be told: the file is not structured, is ambiguous, does not parse or is too large.
    """
    if not formats.is_structured(path):
        return None
    try:
        before, after = (None if content is None else formats.read(path, content) for content in (old, new))
        many = max(len(before or ()), len(after or ())) > 1
        was, now = (_settings(documents, names, many=many) for documents in (before, after))
    except (UnclearError, RecursionError):
        return None
    ways = [way for way in was.keys() | now.keys() if _value(was, way) != _value(now, way)]
    ways.sort(key=_position)
    shown = escape(path)
    return tuple(
        SettingChange(shown, _name(way), _show(was.get(way), names), _show(now.get(way), names))
        for way in ways[:LISTED_SETTINGS]
    )


def _settings(documents: Documents | None, names: SecretNames, *, many: bool) -> dict[Way, _Setting]:
    """Return every setting by its way; of a file with several documents, or compared with one, below `documents`."""
    root: Node = {"documents": documents or []} if many else (documents or [None])[0]
    found: dict[Way, _Setting] = {}
    if isinstance(root, Mapping | list):
        if root:
            _gather(root, (), found, names, hidden=False)
    elif scalar(root) != Scalar("null"):
        raise UnclearError("neither a mapping nor a list")
    return found


def _gather(node: Node, way: Way, found: dict[Way, _Setting], names: SecretNames, *, hidden: bool) -> None:
    if len(way) > _DEPTH:
        raise UnclearError("nested too deep")
    if isinstance(node, Mapping) and node:
        hides = _hiding(node, names)
        for key, child in node.items():
            _gather(child, (*way, key), found, names, hidden=hidden or key in hides or names.hides(key))
    elif isinstance(node, list) and node:
        for index, child in enumerate(node):
            _gather(child, (*way, index), found, names, hidden=hidden)
    else:
        if len(found) >= _SETTINGS_IN_A_FILE:
            raise UnclearError("too many settings")
        found[way] = _Setting(scalar(node), hidden)


def _hiding(mapping: Mapping[str, Node], names: SecretNames) -> tuple[str, ...]:
    """Return the keys of `mapping` whose values are secret because of what stands beside them."""
    if mapping.get("kind") in ("Secret", Scalar('"Secret"')):
        return ("data", "stringData")
    told = (each for key in _NAMING for each in _texts(mapping.get(key)))
    return _NAMED if any(names.hides(text) for text in told) else ()


def _texts(node: Node) -> Iterator[str]:
    """Yield the texts at a place, of which XML may have several."""
    for one in node if isinstance(node, list) else [node]:
        if isinstance(one, str | Scalar):
            text = scalar(one).text
            yield json.loads(text) if text.startswith('"') else text


def _value(settings: Mapping[Way, _Setting], way: Way) -> Scalar | None:
    return settings[way].value if way in settings else None


def _position(way: Way) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, part) for part in way]


def _name(way: Way) -> str:
    name = ""
    for part in way:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += ("." if name else "") + (part if _BARE.fullmatch(part) else json_text(part))
    return _cut(name)


def _show(setting: _Setting | None, names: SecretNames) -> str | None:
    """Return a value as it is shown: as JSON text, hidden where it looks secret, and not too long."""
    if setting is None:
        return None
    if setting.hidden:
        return json_text(MASK)
    text = setting.value.text
    if not text.startswith('"'):
        return text if len(text) <= _SHOWN_CHARACTERS else json_text(_cut(text))
    return json_text(_cut(mask_text(json.loads(text), names)))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({len(text)} characters)"
