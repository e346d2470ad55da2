"""Reads JSON and TOML. Numbers in JSON are kept as they are written, however long."""

from __future__ import annotations

import json
import tomllib

from headgated.core.formats.node import Documents, Scalar, UnclearError, json_text, unique

_DOTS_IN_A_LINE = 200


def read_json(text: str) -> Documents:
    """Return the one document of a JSON file.

    Raises:
        ValueError, RecursionError: it is none.
    """
    document = json.loads(
        text, object_pairs_hook=unique, parse_int=Scalar, parse_float=Scalar, parse_constant=_not_a_number
    )
    return [document]


def _not_a_number(name: str) -> Scalar:
    return Scalar(json_text(name), "float")


def read_toml(text: str) -> Documents:
    """Return the one document of a TOML file.

    Raises:
        ValueError, RecursionError: it is none.
    """
    # The standard library's reader takes a time that grows with the square of the parts of a dotted key.
    if any(line.count(".") > _DOTS_IN_A_LINE for line in text.split("\n")):
        raise UnclearError("a line has too many dots")
    return [tomllib.loads(text)]
