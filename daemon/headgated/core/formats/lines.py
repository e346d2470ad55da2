"""Reads files of one setting a line: INI and .env. There are many dialects of both; values are taken as they are written."""

from __future__ import annotations

import configparser
import io
import re

from headgated.core.formats.node import Documents, UnclearError, unique

# The right-hand side: quoted (may go over lines), or the rest of the line without a comment.
_ENV_LINE = re.compile(
    r"""[ \t]*+(?:
        (?:export[ \t]++)? (?P<key>[A-Za-z_][\w.-]*+) [ \t]*+=[ \t]*+
        (?: (?: "(?P<double>(?:[^"\\]|\\.)*+)" | '(?P<single>[^']*+)' ) [ \t]*+ (?:\#[^\n]*+)? (?=\n|\Z)
          | (?P<bare>[^\n]*+) )
      | \#[^\n]*+
      )?(?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_AFTER = re.compile(r"(?:^|[ \t])\#.*+")


_COMMENTS = "#;"
"""What a comment of an INI file begins with; for `configparser` too."""


def read_ini(text: str) -> Documents:
    """Return the sections of an INI file; `=` or `:` between key and value, or a key alone.

    Raises:
        UnclearError: it is none: there is no section, or something before the first one, or a key is given twice.
    """
    return _read_ini(text, delimiters=("=", ":"), keys_alone=True)


def read_conf(text: str) -> Documents:
    """Return the sections of a file whose name says little: only what is INI beyond doubt, `key = value` throughout.

    Raises:
        UnclearError: it is none.
    """
    return _read_ini(text, delimiters=("=",), keys_alone=False)


def _read_ini(text: str, *, delimiters: tuple[str, ...], keys_alone: bool) -> Documents:
    # Most files named .conf; said at once, for making a parser takes its time.
    if not _begins_with_section(text):
        raise UnclearError("something stands before the first section")
    parser = configparser.RawConfigParser(
        delimiters=delimiters,
        allow_no_value=keys_alone,
        strict=True,
        default_section="\0",  # No file has it: a section DEFAULT is one like any other.
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign] # the documented way to keep keys' case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise UnclearError(str(error)[:200]) from error
    return [{section: dict(parser.items(section)) for section in parser.sections()}]


def _begins_with_section(text: str) -> bool:
    """Tell whether the first line that is neither empty nor a comment may open a section, or there is none."""
    for line in io.StringIO(text):
        first = line.strip()[:1]
        if first and first not in _COMMENTS:
            return first == "["
    return True


def read_env(text: str) -> Documents:
    """Return the one mapping of a .env file.

    Raises:
        UnclearError: a line is neither `KEY=value` nor a comment, or a key is given twice.
    """
    text = text.replace("\r\n", "\n")
    settings = []
    at = 0
    while at < len(text):
        line = _ENV_LINE.match(text, at)
        if line is None:
            raise UnclearError("a line is neither KEY=value nor a comment")
        if line["key"] is not None:
            settings.append((line["key"], _env_value(line)))
        at = line.end()
    return [unique(settings)]


def _env_value(line: re.Match[str]) -> str:
    for quoted in (line["double"], line["single"]):
        if quoted is not None:
            return quoted
    return _COMMENT_AFTER.sub("", line["bare"]).strip()
