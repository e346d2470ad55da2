"""Hides what looks like a secret in text that is shown: settings, diffs.

Goes by names (`password`, `api_key`, ...) of keys, attributes and elements, by shape (a private key in PEM, the password in a URL) and
by two idioms (`name: DB_PASSWORD` beside `value: ...`; a Kubernetes Secret). Root adds names, and takes names out (`[masking]`). It is a second line of defence for
files that hold secrets in clear: it hides too much rather than too little, and cannot promise to know every secret. Declared secrets
never get as far as here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from headgated.core.quantities import setting_globs
from headgated.core.tables import key

MASK = "***"

_SECRET_NAME = re.compile(
    "passw|passphrase|pwd|secret|token|apikey|accesskey|privatekey|authkey|signingkey|encryptionkey|credential|authorization"
)
_HINTS = ("pass", "pwd", "secret", "token", "key", "credential", "authorization", "://")
_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_SEPARATOR = re.compile("[^a-z0-9]+")

_KEY = re.compile(r"""(?<![\w.-])([\w.-]++)["'\])]{0,2}[ \t]*+(?:=>|[:=])[ \t]*+""")
_WORDS = re.compile(r"[ \t]*+([\w.-]++)[ \t]++(?![:=])([^ \t].*)")
"""`key value`, as Java properties and many programs' own files have it."""
_TAG = re.compile(r"<([\w:.-]++)((?:\s[^<>]*+)?)>")
_NAMING = ("name", "key")
_NAMED = ("value", "string")
_LONGEST_NAME = 200
_NAMING_ATTRIBUTE = re.compile(r"""\s(?:name|key|id)\s*+=\s*+["']([^"']*+)["']""")
_NAME = re.compile(r"[\w.-]++")
_INDENT = re.compile(r"[ \t]*+(?:-[ \t]++)*+")
_OPENS = re.compile(r"""(?:[&!][^\s]*+[ \t]*+)*+(?:[|>][-+0-9]*+|[{\[])?[ \t]*+(?:\#.*)?""")
_SECTION = re.compile(r"[ \t]*\[++([^\]]++)\]++[ \t]*(?:[#;].*)?")
_KUBERNETES_SECRET = re.compile(r"""[{ \t]*["']?kind["']?[ \t]*:[ \t]*["']?Secret\b""")
_PEM_BEGINS = re.compile("-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
_PEM_ENDS = re.compile("-----END [A-Z0-9 ]*PRIVATE KEY")
_IN_URL = re.compile(r"(://[^\s/:@]*+:)[^\s@/]++@")


@dataclass(frozen=True, slots=True)
class SecretNames:
    """`[masking]`: which settings are secret by their names, besides those that everybody knows. Globs, of any case."""

    hide: tuple[str, ...] = key((), setting_globs)
    """Hidden in any case."""
    show: tuple[str, ...] = key((), setting_globs)
    """Shown although they look secret: `token_bucket`, `password_policy`."""

    def hides(self, name: str) -> bool:
        """Tell whether the value of a setting of this name is not to be shown."""
        if self.hide and _matches(name, self.hide):
            return True
        return _looks_secret(name) and not (self.show and _matches(name, self.show))


USUAL = SecretNames()
"""What is secret where nobody says more."""


def mask_text(text: str, names: SecretNames = USUAL) -> str:
    """Return what a program said, of any number of lines, with what looks like a secret in it hidden."""
    return "\n".join(_masked(text.split("\n"), names, said=True))


def mask_lines(lines: Iterable[str], names: SecretNames = USUAL) -> list[str]:
    """Return the lines of one file, from its first, with what looks like a secret hidden. As many as there were.

    Of a line `key: value` or `key=value` whose key looks secret nothing is left after the key, and of what is nested below
    such a key nothing but its indentation.
    """
    return _masked(list(lines), names, said=False)


def _masked(lines: list[str], names: SecretNames, *, said: bool) -> list[str]:
    hinting = [bool(names.hide) or _hints(line) for line in lines]
    if not any(hinting):
        return lines
    masker = _Masker(
        names, said=said, kubernetes_secret=any(_KUBERNETES_SECRET.match(line) for line in lines)
    )
    return [
        masker.mask(line) if hints or not masker.idle else line
        for line, hints in zip(lines, hinting, strict=True)
    ]


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    name = name.lower()
    return any(fnmatchcase(name, glob.lower()) for glob in globs)


def _looks_secret(name: str) -> bool:
    if _SECRET_NAME.search(_SEPARATOR.sub("", name.lower())):
        return True
    return "pass" in name.lower() and any(word.lower() == "pass" for word in _WORD.findall(name))


def _hints(line: str) -> bool:
    """Whether a line may be of interest at all; nearly all are not, and this is quick."""
    lowered = line.lower()
    for hint in _HINTS:  # noqa: SIM110 - `any` takes twice as long
        if hint in lowered:
            return True
    return False


class _Masker:
    """What has been seen so far of a file."""

    def __init__(self, names: SecretNames, *, said: bool, kubernetes_secret: bool) -> None:
        self._names, self._said = names, said
        self._element = ""  # The secret XML element that lines are in.
        self._kubernetes_secret = kubernetes_secret
        self._below: int | None = None  # Column of the secret key that lines further in are nested below.
        self._in_section = False
        self._in_pem = False
        self._named_secret = False

    @property
    def idle(self) -> bool:
        """Whether nothing that has been seen so far bears on the lines that follow."""
        seen = self._in_pem or self._in_section or self._named_secret or self._kubernetes_secret
        return self._below is None and not seen and not self._element

    def mask(self, line: str) -> str:
        if self._in_pem or _PEM_BEGINS.search(line):
            return self._mask_pem(line)
        if not line.strip():
            return line
        indent = _INDENT.match(line)
        width = indent.end() if indent else 0
        if self._below is not None and width > self._below:
            return line[:width] + MASK
        self._below = None
        if self._element:
            return self._mask_to_its_end(line, width)
        section = _SECTION.fullmatch(line)
        if section:
            self._in_section = self._names.hides(section[1])
            return line
        line, named = self._mask_elements(line)
        masked = self._mask_values(line, width)
        self._named_secret |= named
        return masked

    def _mask_to_its_end(self, line: str, width: int) -> str:
        end = line.find(f"</{self._element}")
        if end < 0:
            return line[:width] + MASK
        self._element = ""
        return (line[:width] + MASK if line[:end].strip() else line[:end]) + self.mask(line[end:])

    def _mask_elements(self, line: str) -> tuple[str, bool]:
        """Hide the text of XML elements that are secret by name; tells also whether one names what follows (`<name>password</name>`)."""
        named, tells, masked, at = self._named_secret, False, "", 0
        for tag in _TAG.finditer(line):
            if tag.start() < at or tag[2].endswith("/"):
                continue
            if self._is_secret(tag[1], tag[2], named=named):
                end = line.find(f"</{tag[1]}", tag.end())
                until = end if end >= 0 else len(line)
                masked += line[at : tag.end()] + (MASK if line[tag.end() : until].strip() else "")
                # One that does not end here goes on, unless it is a word in angle brackets in the middle of prose.
                self._element = tag[1] if end < 0 and not line[: tag.start()].strip() else ""
                at, named, tells = until, False, False
            elif tag[1] in _NAMING:
                name = line[tag.end() : tag.end() + _LONGEST_NAME].partition("<")[0]
                named = tells = self._names.hides(name.strip())
        return masked + line[at:], tells

    def _is_secret(self, element: str, attributes: str, *, named: bool) -> bool:
        if self._names.hides(element.rpartition(":")[2]) or (named and element in _NAMED):
            return True
        return any(self._names.hides(naming[1]) for naming in _NAMING_ATTRIBUTE.finditer(attributes))

    def _mask_pem(self, line: str) -> str:
        begins, ends = _PEM_BEGINS.search(line), _PEM_ENDS.search(line)
        self._in_pem = not ends
        if begins:
            return line[: begins.start()] + MASK
        return MASK + (line[ends.end() :].lstrip("- ") if ends else "")

    def _mask_values(self, line: str, width: int) -> str:
        named_secret, self._named_secret = self._named_secret, False
        words = None if self._said else _WORDS.fullmatch(line)
        if words and (" " not in words[2].rstrip() or "." in words[1]) and self._names.hides(words[1]):
            return line[: words.start(2)] + MASK
        for assigned in _KEY.finditer(line):
            if self._hides(assigned[1], named=named_secret):
                if _OPENS.fullmatch(line[assigned.end() :].strip()):
                    self._below = width
                    return line
                return line[: assigned.end()] + MASK
            if assigned[1] in _NAMING:
                rest = line[assigned.end() : assigned.end() + _LONGEST_NAME]
                named = _NAME.search(rest)
                named_secret = self._names.hides(rest) or (named is not None and self._names.hides(named[0]))
                self._named_secret = named_secret
        return _IN_URL.sub(rf"\1{MASK}@", line)

    def _hides(self, name: str, *, named: bool) -> bool:
        return (
            self._in_section
            or self._names.hides(name)
            or (named and name == "value")
            or (self._kubernetes_secret and name in ("data", "stringData"))
        )
