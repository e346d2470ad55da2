"""Puts an environment's variables into the bytes of a file.

`$NAME` (the longest identifier), `${NAME}` and `${NAME:-default}` are references. One pass: neither values nor defaults are looked
at again. A name that is not declared stays as it stands, so that nginx's `$uri`, a shell's `$1` and bcrypt's `$2b$` survive;
only `${NAME:-default}` is substituted whether NAME is declared or not, and gives the default where the value is empty, too.
Dollars right before a reference that would be substituted escape in pairs, as `$$`: `$$NAME` gives `$NAME`, `$$$NAME` gives a
dollar and the value. Every other dollar is a dollar.

A default ends at its closing brace, on the same line; braces inside it come in pairs, at most three deep. Nothing is decoded:
line ends and bytes that are not UTF-8 pass through. Which files are rendered at all is not decided here, but for two: a file
with a NUL byte is binary and stays as it is, and an environment without variables renders nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headgated.core.errors import DeploymentFailedError, Fault, InvalidRequestError

RENDERED_BYTES = 64 * 1024 * 1024
"""A rendered file may be so long where nothing else is said; variables of 64 KiB can blow up a small one."""

_REMEMBERED_BYTES = 1024 * 1024
_DOLLAR, _NUL = b"$\0"  # Numbers: looked for twice as fast as bytes of length 1.


def _braces_in_pairs(depth: int) -> bytes:
    text = rb"[^{}\n]*+"
    for _ in range(depth):
        text = rb"(?:[^{}\n]++|\{" + text + rb"\})*+"
    return text


_NAME = rb"[A-Za-z_][A-Za-z0-9_]*+"
# Written for speed (see benchmarks): it begins with a literal, which is searched for fastest, and a branch costs less than an
# optional group. The look-behind begins a run of dollars at its first one only: without it a long run costs its square.
_REFERENCE = re.compile(rb"(\$(?<!\$\$)\$*+(?:\{%s(?:\}|:-%s\})|%s))" % (_NAME, _braces_in_pairs(3), _NAME))
_split = _REFERENCE.split


@dataclass(slots=True)
class Rendered:
    """A file with its variables put in. Never changed; it is not frozen because that takes three times as long to make."""

    content: bytes
    undefined: tuple[str, ...] = ()
    """Names that were referred to, are not declared and have no default, each once, in order."""


class Renderer:
    """Renders files with one set of variables. Thread-safe."""

    def __init__(self, variables: Mapping[str, str], largest: int = RENDERED_BYTES) -> None:
        """Take the variables, and how many bytes a rendered file may have."""
        self._values, self._largest = _encoded(variables), largest
        longest = max(map(len, self._values.values()), default=0)
        self._always_fits = largest // max(longest, 1)
        self._known = _Substitutions(self._values)

    def render(self, content: bytes) -> Rendered:
        """Return `content` with every reference substituted; the very same object where there is nothing to do.

        Raises:
            DeploymentFailedError: RENDER_TOO_LARGE, it would be longer than it may be.
        """
        if _DOLLAR not in content or not self._values or _NUL in content:
            return Rendered(content)
        known, parts = self._known, _split(content)
        references = parts[1::2]
        parts[1::2] = map(known.find, references)
        if len(content) > self._always_fits:
            _refuse_too_large(parts, self._largest)
        if known.plain:
            return Rendered(b"".join(parts))
        undefined = known.undefined_among(references)
        if known.size > _REMEMBERED_BYTES:
            self._known = _Substitutions(self._values)
        return Rendered(b"".join(parts), undefined)


def _refuse_too_large(parts: Iterable[bytes], largest: int) -> None:
    size = sum(map(len, parts))
    if size > largest:
        raise DeploymentFailedError(
            f"cannot render: the result would be {size} bytes long, more than {largest}",
            reason="RENDER_TOO_LARGE",
            hint="use shorter variables, or add the file to the environment's verbatim globs",
        )


class _Substitutions(dict[bytes, bytes]):
    """What stands instead of each reference. They recur, within a file and from file to file: each is looked into once."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        super().__init__()
        self._values = values
        self._undefined: dict[bytes, str] = {}
        self.find = self.__getitem__
        self.size = 0
        """About what is kept in memory, in bytes."""
        self.plain = True
        """No reference was to an undefined name, and there is room for more."""

    def __missing__(self, reference: bytes) -> bytes:
        result = self[reference] = self._substitute(reference)
        self.size += len(reference) + len(result) + 200
        self.plain = not self._undefined and self.size <= _REMEMBERED_BYTES
        return result

    def _substitute(self, reference: bytes) -> bytes:
        body = reference.lstrip(b"$")
        pairs, odd = divmod(len(reference) - len(body), 2)
        name, has_default, default = body.removeprefix(b"{").partition(b":-")
        if not has_default:
            name = name.removesuffix(b"}")
            if name not in self._values:
                if odd:
                    self._undefined[reference] = name.decode("ascii")
                return reference
        value = self._values.get(name) or default.removesuffix(b"}")
        return b"$" * pairs + (value if odd else body)

    def undefined_among(self, references: list[bytes]) -> tuple[str, ...]:
        """Return the undefined names among `references`, which have been looked up before, each once, in order."""
        undefined = self._undefined
        if undefined.keys().isdisjoint(references):
            return ()
        once = dict.fromkeys(references)  # they recur
        return tuple(dict.fromkeys(undefined[one] for one in once if one in undefined))


def _encoded(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return names and values as they go into a file; text that came from bytes becomes those bytes again."""
    encoded: dict[bytes, bytes] = {}
    faults = []
    for name, value in variables.items():
        try:
            encoded[name.encode("ascii")] = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            faults.append(Fault(f"variables.{name!a}", "cannot be encoded as UTF-8"))
    if faults:
        raise InvalidRequestError("render", faults)
    return encoded
