"""Reads systemd's unit files (systemd.syntax(7)): sections of `Key=value`, where a key may be given many times, and lines go on.

A key that is given more than once is a list, in order; an assignment of nothing empties it, as systemd has it.
"""

from __future__ import annotations

from headgated.core.formats.node import Documents, Node, UnclearError


def read_unit(text: str) -> Documents:
    """Return the sections of a unit file.

    Raises:
        UnclearError: something stands outside of a section, or a line is no assignment.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] | None = None
    for line in _logical_lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = sections.setdefault(line[1:-1], {})
            continue
        key, equals, value = line.partition("=")
        if section is None or not equals or not key.strip():
            raise UnclearError("a line is neither a section nor an assignment in one")
        _assign(section, key.strip(), value.strip())
    return [{name: {key: _node(values) for key, values in keys.items()} for name, keys in sections.items()}]


def _assign(section: dict[str, list[str]], key: str, value: str) -> None:
    if value:
        section.setdefault(key, []).append(value)
    else:
        section[key] = []


def _node(values: list[str]) -> Node:
    if len(values) == 1:
        return values[0]
    return list(values) if values else ""


def _logical_lines(text: str) -> list[str]:
    """Return the lines that say something; one that ends in a backslash goes on in the next that is no comment."""
    lines: list[str] = []
    gathered = ""
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not gathered):
            continue
        if line.endswith("\\"):
            gathered += line[:-1] + " "
            continue
        lines.append((gathered + line).strip())
        gathered = ""
    return [*lines, gathered.strip()] if gathered.strip() else lines
