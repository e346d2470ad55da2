"""Reads structured files, by their names, into plain mappings, lists and scalars: for comparing and showing, not for use.

What a program may understand in more than one way (a key given twice, a file that is only almost INI) is not read at all.
Nothing in a file is ever carried out, and whatever the input, reading takes bounded memory and time.
"""

from __future__ import annotations

from collections.abc import Callable

from headgated.core.formats.lines import read_conf, read_env, read_ini
from headgated.core.formats.node import Documents, UnclearError
from headgated.core.formats.plain import read_json, read_toml
from headgated.core.formats.properties import read_properties
from headgated.core.formats.units import read_unit

READ_BYTES = 1024 * 1024
"""A longer file is not read."""


def _read_xml(text: str) -> Documents:
    from headgated.core.formats.xml import read_xml  # noqa: PLC0415 - a library that only such files need in memory

    return read_xml(text)


def _read_yaml(text: str) -> Documents:
    from headgated.core.formats.yaml import read_yaml  # noqa: PLC0415 - as above, and a large one

    return read_yaml(text)


_READ_SLOWLY: dict[Callable[[str], Documents], int] = {
    read_toml: 256 * 1024,
    read_ini: 256 * 1024,
    read_conf: 256 * 1024,
}
"""What the standard library reads at less than a megabyte a second: a longer one is not read."""

_UNITS = (
    b"service",
    b"socket",
    b"timer",
    b"mount",
    b"automount",
    b"path",
    b"target",
    b"slice",
    b"link",
    b"network",
    b"netdev",
)
"""What systemd's files end in."""

_BY_SUFFIX: dict[bytes, Callable[[str], Documents]] = {
    b"json": read_json,
    b"yaml": _read_yaml,
    b"yml": _read_yaml,
    b"toml": read_toml,
    b"ini": read_ini,
    b"cfg": read_ini,
    b"cnf": read_ini,
    b"conf": read_conf,
    b"env": read_env,
    b"xml": _read_xml,
    b"properties": read_properties,
    **dict.fromkeys(_UNITS, read_unit),
}


def is_structured(path: bytes) -> bool:
    """Tell whether a file of this name may be structured."""
    return _reader(path) is not None


def read(path: bytes, content: bytes) -> Documents:
    """Return the documents in a file: one, but for YAML.

    Raises:
        UnclearError: it is not structured, not of the format that its name says, ambiguous, or too large.
    """
    reader = _reader(path)
    if reader is None:
        raise UnclearError("no structured format is known by this name")
    if len(content) > (limit := _READ_SLOWLY.get(reader, READ_BYTES)):
        raise UnclearError(f"longer than {limit} bytes")
    if b"\0" in content:
        raise UnclearError("holds a NUL byte")
    try:
        return reader(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UnclearError(str(error)[:200]) from error


def _reader(path: bytes) -> Callable[[str], Documents] | None:
    """`settings.local.json`, `.env`, `.env.production` and `production.env` say what they are; the case does not matter."""
    name = path.rpartition(b"/")[2].lower()
    reader = _BY_SUFFIX.get(name.rpartition(b".")[2]) if b"." in name else None
    return read_env if reader is None and name.startswith(b".env.") else reader
