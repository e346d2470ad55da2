"""Hides what looks like a secret in text that is shown: settings, diffs.

Goes by names (`password`, `api_key`, ...), by shape (a private key in PEM, the password in a URL) and by two idioms (`name: DB_PASSWORD`
beside `value: ...`; a Kubernetes Secret). It is a second line of defence for files that hold secrets in clear: it hides too much
rather than too little, and cannot promise to know every secret. Declared secrets never get as far as here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"

_SECRET_NAME = re.compile(
    "passw|passphrase|pwd|secret|token|apikey|accesskey|privatekey|authkey|signingkey|encryptionkey|credential|authorization"
)
_HINTS = ("pass", "pwd", "secret", "token", "key", "credential", "authorization", "://")
_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
_SEPARATOR = re.compile("[^a-z0-9]+")

_KEY = re.compile(r"""(?<![\w.-])([\w.-]++)["'\])]{0,2}[ \t]*+(?:=>|[:=])[ \t]*+""")
_INDENT = re.compile(r"[ \t]*+(?:-[ \t]++)*+")
_OPENS = re.compile(r"""(?:[&!][^\s]*+[ \t]*+)*+(?:[|>][-+0-9]*+|[{\[])?[ \t]*+(?:\#.*)?""")
_SECTION = re.compile(r"[ \t]*\[++([^\]]++)\]++[ \t]*(?:[#;].*)?")
_KUBERNETES_SECRET = re.compile(r"""[{ \t]*["']?kind["']?[ \t]*:[ \t]*["']?Secret\b""")
_PEM_BEGINS = re.compile("-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
_PEM_ENDS = re.compile("-----END [A-Z0-9 ]*PRIVATE KEY")
_IN_URL = re.compile(r"(://[^\s/:@]*+:)[^\s@/]++@")


def looks_secret(name: str) -> bool:
    """Tell whether the value of a setting of this name should not be shown."""
    if _SECRET_NAME.search(_SEPARATOR.sub("", name.lower())):
        return True
    return "pass" in name.lower() and any(word.lower() == "pass" for word in _WORD.findall(name))


def mask_text(text: str) -> str:
    """Return `text`, of any number of lines, with what looks like a secret in it hidden."""
    return "\n".join(mask_lines(text.split("\n")))


def mask_lines(lines: Iterable[str]) -> list[str]:
    """Return the lines of one file, from its first, with what looks like a secret hidden. As many as there were.

    Of a line `key: value` or `key=value` whose key looks secret nothing is left after the key, and of what is nested below
    such a key nothing but its indentation.
    """
    lines = list(lines)
    hinting = [_hints(line) for line in lines]
    if not any(hinting):
        return lines
    masker = _Masker(kubernetes_secret=any(_KUBERNETES_SECRET.match(line) for line in lines))
    return [
        masker.mask(line) if hints or not masker.idle else line
        for line, hints in zip(lines, hinting, strict=True)
    ]


def _hints(line: str) -> bool:
    """Whether a line may be of interest at all; nearly all are not, and this is quick."""
    lowered = line.lower()
    for hint in _HINTS:  # noqa: SIM110 - `any` takes twice as long
        if hint in lowered:
            return True
    return False


class _Masker:
    """What has been seen so far of a file."""

    def __init__(self, *, kubernetes_secret: bool) -> None:
        self._kubernetes_secret = kubernetes_secret
        self._below: int | None = None  # Column of the secret key that lines further in are nested below.
        self._in_section = False
        self._in_pem = False
        self._named_secret = False

    @property
    def idle(self) -> bool:
        """Whether nothing that has been seen so far bears on the lines that follow."""
        seen = self._in_pem or self._in_section or self._named_secret or self._kubernetes_secret
        return self._below is None and not seen

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
        section = _SECTION.fullmatch(line)
        if section:
            self._in_section = looks_secret(section[1])
            return line
        return self._mask_values(line, width)

    def _mask_pem(self, line: str) -> str:
        begins, ends = _PEM_BEGINS.search(line), _PEM_ENDS.search(line)
        self._in_pem = not ends
        if begins:
            return line[: begins.start()] + MASK
        return MASK + (line[ends.end() :].lstrip("- ") if ends else "")

    def _mask_values(self, line: str, width: int) -> str:
        named_secret, self._named_secret = self._named_secret, False
        for key in _KEY.finditer(line):
            if self._hides(key[1], named=named_secret):
                if _OPENS.fullmatch(line[key.end() :].strip()):
                    self._below = width
                    return line
                return line[: key.end()] + MASK
            if key[1] in ("name", "key"):
                named_secret = self._named_secret = looks_secret(line[key.end() :])
        return _IN_URL.sub(rf"\1{MASK}@", line)

    def _hides(self, name: str, *, named: bool) -> bool:
        return (
            self._in_section
            or looks_secret(name)
            or (named and name == "value")
            or (self._kubernetes_secret and name in ("data", "stringData"))
        )
