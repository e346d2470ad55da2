"""Tells what a JSON Schema finds wrong with a structured file (JSON, YAML or TOML)."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import yaml
from jsonschema import exceptions, validators
from referencing import Registry
from referencing.exceptions import Unresolvable

from headgated.core.syntax import in_one_line, syntax_of

_FAULTS = 20
"""So many faults of one file are told."""
_LONGEST = 300


class Schema:
    """One schema, checked once.

    Args:
        text: the schema as JSON. References out of it are not followed: nothing is ever fetched.

    Raises:
        ValueError: it is no JSON Schema; says why.
    """

    def __init__(self, text: bytes) -> None:
        try:
            schema = json.loads(text)
            if not isinstance(schema, dict | bool):
                raise ValueError("a schema is an object, or true or false")  # noqa: TRY004, TRY301
            if isinstance(schema, dict) and not isinstance(schema.get("$schema", ""), str):
                raise ValueError("its $schema is no text")  # noqa: TRY004, TRY301
            kind = validators.validator_for(schema)
            kind.check_schema(schema)  # type: ignore[arg-type]  # true and false are schemas too
        except exceptions.SchemaError as error:
            raise ValueError(f"is no JSON Schema: {error.message[:_LONGEST]}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"is no JSON Schema: {error}") from error
        self._validator = kind(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)

    def faults(self, path: bytes, content: bytes) -> list[str]:
        """Return what is wrong with a file, each with its place in it; nothing: it meets the schema."""
        try:
            documents = _documents(path, content)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            return ["cannot be read: " + in_one_line(error)]
        found: list[str] = []
        for document in documents:
            try:
                found += [_told(error) for error in self._validator.iter_errors(document)]
            except (Unresolvable, RecursionError) as error:
                found.append(
                    f"cannot be checked: the schema refers to what it does not hold ({error})"[:_LONGEST]
                )
        return found[:_FAULTS]


def _documents(path: bytes, content: bytes) -> list[Any]:
    syntax = syntax_of(path)
    if syntax == "yaml":
        return list(yaml.safe_load_all(content))
    if syntax == "toml":
        return [tomllib.loads(content.decode())]
    return [json.loads(content.decode("utf-8-sig"))]


def _told(error: exceptions.ValidationError) -> str:
    """Return a fault without the value that is at fault: it may be a secret."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    rule = error.validator_value
    shown = json.dumps(rule, default=str)
    if error.validator in ("required", "dependentRequired", "additionalProperties", "unevaluatedProperties"):
        what = error.message  # names of keys alone
    else:
        what = f"does not meet {error.validator}: {shown}"
    return f"{place.removeprefix('.') or 'the whole file'}: {what}"[:_LONGEST]
