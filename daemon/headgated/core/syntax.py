"""Tells whether files are what their names say: JSON, YAML, TOML, INI or XML that a program can read.

Only the form is judged. A template that is not valid before rendering is judged as it is after.
"""

from __future__ import annotations

import configparser
import json
import tomllib
from collections.abc import Callable, Mapping
from typing import NoReturn
from xml.parsers import expat

import yaml

DEEPEST = 500
"""Levels; whatever reads configuration gives up on what is nested deeper."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BY_SUFFIX = {
    b"json": "json",
    b"yaml": "yaml",
    b"yml": "yaml",
    b"toml": "toml",
    b"ini": "ini",
    b"cfg": "ini",
    b"xml": "xml",
}


def syntax_of(path: bytes) -> str:
    """Return the format that a file's name says it has; empty: none that is known here."""
    return _BY_SUFFIX.get(path.rpartition(b"/")[2].lower().rpartition(b".")[2], "")


def syntax_fault(syntax: str, content: bytes) -> str:
    """Return what keeps a file from being read as a format, with the line where that can be told; empty: nothing.

    Args:
        syntax: one of `core.commands.SYNTAXES`.
        content: all of the file.
    """
    try:
        _READERS[syntax](content)
    except (ValueError, RecursionError, yaml.YAMLError, configparser.Error, expat.ExpatError) as error:
        return f"is not {syntax.upper()}: {in_one_line(error)}"
    return ""


def _read_json(content: bytes) -> None:
    json.loads(content.decode("utf-8-sig"), parse_constant=_no_number)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON's")


def _read_yaml(content: bytes) -> None:
    # Neither composed nor constructed: a program's own tags are its own business, and none runs anything here. And what composes
    # goes down in C as deep as the file does, until the stack ends, and the process with it.
    depth, anchors = 0, set[str]()
    for event in yaml.parse(content, Loader=_Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            anchors.clear()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise ValueError(f"found undefined alias {event.anchor} {event.start_mark}")
        elif isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            anchors.add(event.anchor)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"nested deeper than {DEEPEST} levels {event.start_mark}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _read_toml(content: bytes) -> None:
    tomllib.loads(content.decode())


def _read_ini(content: bytes) -> None:
    # Sections and keys that are given twice are common in what is called INI, and mean something to those who read it.
    configparser.RawConfigParser(strict=False, allow_no_value=True).read_string(content.decode("utf-8-sig"))


def _read_xml(content: bytes) -> None:
    # Neither external entities nor a document type are fetched; expat itself bounds what entities expand to.
    expat.ParserCreate().Parse(content, True)  # noqa: FBT003 - the library's own signature


_READERS: Mapping[str, Callable[[bytes], None]] = {
    "json": _read_json,
    "yaml": _read_yaml,
    "toml": _read_toml,
    "ini": _read_ini,
    "xml": _read_xml,
}


def in_one_line(error: Exception) -> str:
    """Return what an error says, on one line and not too long."""
    return " ".join(str(error).split())[:300]
