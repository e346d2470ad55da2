"""Writes systemd's units and what belongs to them for an installation that no package manager made.

Promises that every unit names the programs of this installation, that nothing is overwritten which was not written here, and that
either every file can be written or none is. It starts nothing and tells systemd nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from headgated.core.errors import Fault, InvalidRequestError, RefusedError, UnavailableError

MARK = "# Written by `headgated install-units`; what you change belongs into drop-ins (systemctl edit).\n"
_UNITS = ("headgated.service", "headgated.socket", "headgated@.service", "headgated@.socket")
_TARGETS = "10-targets.conf"
_CONFIG = "headgated.toml"
_HIDDEN = ("/tmp", "/var/tmp")  # noqa: S108 - the service has its own (PrivateTmp=)
_UNUSABLE = frozenset(" \t\"'\\;$")


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs that units start."""

    daemon: Path
    client: Path


def system_files(etc: Path) -> dict[Path, str]:
    """Return which of our files goes where for the machine's administrator, below `etc`."""
    return {**_machines(etc), etc / "headgate" / _CONFIG: _CONFIG}


def vendor_files(prefix: Path) -> dict[Path, str]:
    """Return which of our files goes where for somebody who makes a package, below `prefix`."""
    return {
        **_machines(prefix / "lib"),
        **_persons(prefix / "lib"),
        prefix / "share/headgate" / _CONFIG: _CONFIG,
    }


def user_files(config_home: Path) -> dict[Path, str]:
    """Return which of our files goes where for one person, below `config_home` ($XDG_CONFIG_HOME)."""
    return {**_persons(config_home), config_home / "headgate" / _CONFIG: _CONFIG}


def install(wanted: dict[Path, str], programs: Programs) -> list[Path]:
    """Write the files, with the programs' paths filled in; returns those that were written. May be repeated.

    A configuration that is there already stays as it is.

    Raises:
        InvalidRequestError: systemd could not start these programs.
        RefusedError: FILE_NOT_OURS, somebody else's files are in the way; all of them are named.
        UnavailableError: FILE_NOT_WRITTEN.
    """
    _check(programs, hidden=any("system/" in name for name in wanted.values()))
    texts = {path: MARK + _filled(name, programs) for path, name in wanted.items()}
    foreign = [str(path) for path in wanted if not _is_ours(path, wanted[path])]
    if foreign:
        raise RefusedError(
            f"cannot install the units: {', '.join(foreign)} {'was' if len(foreign) == 1 else 'were'} not written by us",
            reason="FILE_NOT_OURS",
            hint="look at what is there, and move it away",
            paths=foreign,
        )
    due = {path: text for path, text in texts.items() if not (wanted[path] == _CONFIG and path.exists())}
    for path, text in due.items():
        _write(path, text)
    return list(due)


def _machines(base: Path) -> dict[Path, str]:
    units = base / "systemd/system"
    return {
        **{units / name: f"system/{name}" for name in _UNITS},
        **{
            units / f"{name}.d" / _TARGETS: f"system/{_TARGETS}"
            for name in _UNITS
            if name.endswith("service")
        },
        base / "sysusers.d/headgate.conf": "headgate.sysusers",
        base / "tmpfiles.d/headgate.conf": "headgate.tmpfiles",
        base / "sysctl.d/30-headgate.conf": "headgate.sysctl",
    }


def _persons(base: Path) -> dict[Path, str]:
    return {
        base / "systemd/user" / name: f"user/{name}" for name in ("headgated.service", "headgated.socket")
    }


def _filled(name: str, programs: Programs) -> str:
    text = _shipped(name)
    for there, here in (("headgated", programs.daemon), ("headgate", programs.client)):
        text = text.replace(f"/usr/bin/{there} ", f"{_escaped(here)} ").replace(
            f"/usr/bin/{there}\n", f"{_escaped(here)}\n"
        )
    return text


def _shipped(name: str) -> str:
    """Return a file as it comes with the wheel; from the checkout where the installation is an editable one."""
    packaged = files("headgated") / "units" / name
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return Path(__file__).parents[3].joinpath("systemd", name).read_text("utf-8")


def _escaped(program: Path) -> str:
    return str(program).replace("%", "%%")


def _check(programs: Programs, *, hidden: bool) -> None:
    found = list(_faults(programs, hidden=hidden))
    if found:
        raise InvalidRequestError("install the units", found)


def _faults(programs: Programs, *, hidden: bool) -> Iterator[Fault]:
    for program in (programs.daemon, programs.client):
        if not os.access(program, os.X_OK):
            yield Fault(str(program), "is not there, or no program")
        elif _UNUSABLE & set(str(program)):
            yield Fault(str(program), "has characters in its path that a unit cannot name")
        elif hidden and str(program).startswith(tuple(f"{directory}/" for directory in _HIDDEN)):
            yield Fault(str(program), "is below a directory that the service has its own of")


def _is_ours(path: Path, name: str) -> bool:
    if name == _CONFIG:
        return True
    try:
        return path.read_text("utf-8", "replace").startswith(MARK)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _write(path: Path, text: str) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".headgate-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise UnavailableError(
            f"cannot write {path}: {error.strerror}",
            reason="FILE_NOT_WRITTEN",
            hint="run it as root, or with --user for yourself alone",
            paths=[str(path)],
        ) from error
