"""What the terminal can show: colour, its width, a line that is overwritten. Nothing of it where output is no terminal."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Literal, Self

import click

from headgate.cli.table import cut
from headgate.filename import shown

Stream = Literal["stdout", "stderr"]

_USUAL_COLUMNS = 80


def is_terminal(stream: Stream) -> bool:
    """Tell whether somebody looks at it; nobody does where it is closed."""
    file = getattr(sys, stream)
    return file is not None and bool(file.isatty())


def width() -> int | None:
    """Return the columns that standard output has; None where it is no terminal, and lines may be of any length."""
    return _columns("stdout") if is_terminal("stdout") else None


def _columns(stream: Stream) -> int:
    """Return what COLUMNS says, else what the terminal does; `shutil` would do, but takes long to import."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(getattr(sys, stream).fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours, or none."""

    on: bool

    @classmethod
    def of(cls, stream: Stream) -> Paint:
        """Return colours for a stream: only on a terminal that has them, and not where NO_COLOR says no."""
        wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(wanted and is_terminal(stream))

    def good(self, text: str) -> str:
        """As it should be; something added."""
        return self._styled(text, fg="green")

    def bad(self, text: str) -> str:
        """Wrong; something removed."""
        return self._styled(text, fg="red")

    def odd(self, text: str) -> str:
        """To be looked at; something changed."""
        return self._styled(text, fg="yellow")

    def dim(self, text: str) -> str:
        """Beside the point."""
        return self._styled(text, dim=True)

    def bold(self, text: str) -> str:
        """A heading."""
        return self._styled(text, bold=True)

    def _styled(self, text: str, *, fg: str | None = None, dim: bool = False, bold: bool = False) -> str:
        return click.style(text, fg=fg, dim=dim or None, bold=bold or None) if self.on and text else text


class ProgressLine:
    """One line on stderr that is overwritten; silent where stderr is no terminal. Use as a context manager."""

    def __init__(self) -> None:
        self._on = is_terminal("stderr") and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.show("")

    def show(self, text: str) -> None:
        """Put `text` in place of what is there."""
        if self._on:
            line = cut(shown(text), _columns("stderr") - 1)
            click.echo(f"\r\x1b[K{line}", err=True, nl=False, color=True)
