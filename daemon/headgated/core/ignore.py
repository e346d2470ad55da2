"""Which names are left out: gitignore rules.

Promises: what git's manual says of an ignore file, on bytes (precedence, negation, `**`, nested files), and a time to match
that is bounded by length of pattern times length of path, so that whoever writes a pattern cannot stall the daemon.
It reads no files, and decides nothing about what is below an ignored directory: nobody looks in there, and so, as with git,
no negation brings it back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

IGNORE_FILE = b".headgateignore"
"""May lie in any directory of a source and holds for all that is below that directory."""

OWN_PREFIX = b".headgate-"
"""Begins the name of each of our temporaries."""

_POSIX_CLASSES = {
    b"alnum": rb"[0-9A-Za-z]",
    b"alpha": rb"[A-Za-z]",
    b"blank": rb"[ \t]",
    b"cntrl": rb"[\x00-\x1f\x7f]",
    b"digit": rb"[0-9]",
    b"graph": rb"[!-~]",
    b"lower": rb"[a-z]",
    b"print": rb"[ -~]",
    b"punct": rb"[!-/:-@\[-`{-~]",
    b"space": rb"[ \t\n\v\f\r]",
    b"upper": rb"[A-Z]",
    b"xdigit": rb"[0-9A-Fa-f]",
}
_POSIX_CLASS = re.compile(rb"\[:([^\]]*):\]")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line of an ignore file."""

    negated: bool
    directories_only: bool
    prefix: int
    """How many bytes of a path the rule does not see: those of the directory that its file is in, with the slash."""
    parts: tuple[re.Pattern[bytes] | None, ...]
    """One pattern for each part of the path; None (`**`) stands for any number of parts."""
    anywhere: re.Pattern[bytes] | None = None
    """Set where the rule has no slash: it looks at the last part only."""

    def matches(self, path: bytes, *, is_directory: bool) -> bool:
        if self.directories_only and not is_directory:
            return False
        if self.anywhere is not None:
            return self.anywhere.fullmatch(path, path.rfind(b"/") + 1) is not None
        return _parts_match(self.parts, path[self.prefix :].split(b"/"))


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules in order of precedence. `Rules()` ignores nothing but what is never deployed."""

    ordered: tuple[_Rule, ...] = ()
    """The first that matches decides."""

    def extended(self, directory: bytes, content: bytes) -> tuple[Rules, tuple[str, ...]]:
        """Return these rules with those of an ignore file before them, and what is wrong with its lines.

        Args:
            directory: the directory that the file is in; the result is for paths below it only.
            content: the file; a line that cannot be understood makes no rule and one complaint ("line 3: ...").
        """
        prefix = len(directory) + 1 if directory else 0
        rules, complaints = list(self.ordered), []
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
            try:
                rule = _parse(line, prefix)
            except ValueError as error:
                complaints.append(f"line {number}: {error}")
            else:
                rules[:0] = [rule] if rule else []
        return Rules(tuple(rules)), tuple(complaints)

    def ignores(self, path: bytes, *, is_directory: bool) -> bool:
        """Tell whether `path` is left out, given that no directory above it is."""
        name = path[path.rfind(b"/") + 1 :]
        if name == b".git" or name.startswith(OWN_PREFIX):
            return True
        for rule in self.ordered:
            if rule.matches(path, is_directory=is_directory):
                return not rule.negated
        return False

    def covers(self, path: bytes) -> bool:
        """Tell whether the file `path` or any directory above it is matched."""
        end = path.find(b"/")
        while end >= 0:
            if self.ignores(path[:end], is_directory=True):
                return True
            end = path.find(b"/", end + 1)
        return self.ignores(path, is_directory=False)


def _parse(line: bytes, prefix: int) -> _Rule | None:
    """Return the rule that a line makes; None for blank lines and comments.

    Raises:
        ValueError: the line cannot be understood.
    """
    glob = _trimmed(line.removesuffix(b"\r"))
    if not glob or glob.startswith(b"#"):
        return None
    negated = glob.startswith(b"!")
    glob = glob.removeprefix(b"!")
    directories_only = glob.endswith(b"/")
    glob = glob.removesuffix(b"/")
    if not glob:
        return None
    if b"/" not in glob:
        return _Rule(negated, directories_only, prefix, (), _compile(_translate(glob)))
    parts = glob.removeprefix(b"/").split(b"/")
    return _Rule(negated, directories_only, prefix, tuple(map(_part, parts)))


def _part(glob: bytes) -> re.Pattern[bytes] | None:
    return None if len(glob) > 1 and not glob.strip(b"*") else _compile(_translate(glob))


def _trimmed(line: bytes) -> bytes:
    """Return `line` without the spaces at its end, except one that is escaped."""
    glob = line.rstrip(b" ")
    backslashes = len(glob) - len(glob.rstrip(b"\\"))
    return glob + b" " if backslashes % 2 and glob != line else glob


def _compile(expression: bytes) -> re.Pattern[bytes]:
    return re.compile(expression, re.DOTALL)


def _parts_match(parts: tuple[re.Pattern[bytes] | None, ...], path: list[bytes]) -> bool:
    """Match part by part. Going back to the last `**` only is enough: an earlier one could only take more."""
    at = here = 0
    any_at, resume = -1, 0
    while here < len(path):
        part = parts[at] if at < len(parts) else None
        if at < len(parts) and part is None:
            any_at, resume = at, here
            at += 1
            if at == len(parts):
                return True
        elif part is not None and part.fullmatch(path[here]):
            at, here = at + 1, here + 1
        elif any_at >= 0:
            resume += 1
            at, here = any_at + 1, resume
        else:
            return False
    return at == len(parts)


def _translate(glob: bytes) -> bytes:
    """Return a regular expression for one part of a pattern.

    What stands between two stars is of fixed length, so the first place where it fits is as good as any: each is matched
    atomically, and the expression never backtracks over more than one star.
    """
    chunks = [b""]
    at = 0
    while at < len(glob):
        if glob[at : at + 1] == b"*":
            chunks.append(b"")
            at += 1
        elif glob[at : at + 1] == b"?":
            chunks[-1] += b"."
            at += 1
        elif glob[at : at + 1] == b"[":
            at, one = _bracket(glob, at + 1)
            chunks[-1] += one
        else:
            at, byte = _literal(glob, at)
            chunks[-1] += re.escape(bytes([byte]))
    first, *middle = chunks
    if not middle:
        return first
    last = middle.pop()
    return first + b"".join(b"(?>.*?" + chunk + b")" for chunk in middle if chunk) + b".*" + last


def _literal(glob: bytes, at: int) -> tuple[int, int]:
    """Return (where it ends, the byte) of a possibly escaped byte."""
    if glob[at : at + 1] == b"\\":
        at += 1
        if at == len(glob):
            raise ValueError("a backslash escapes nothing")
    return at + 1, glob[at]


def _bracket(glob: bytes, at: int) -> tuple[int, bytes]:
    """Return (where it ends, regular expression) of a bracket whose inside begins at `at`."""
    negated = glob[at : at + 1] in (b"!", b"^")
    at += negated
    start, members, previous = at, set[int](), None
    while at == start or glob[at : at + 1] != b"]":
        if at >= len(glob):
            raise ValueError("a bracket is not closed")
        if posix := _POSIX_CLASS.match(glob, at):
            members |= _posix_members(posix[1])
            at, previous = posix.end(), None
        elif glob[at : at + 1] == b"-" and previous is not None and glob[at + 1 : at + 2] not in (b"", b"]"):
            at, last = _literal(glob, at + 1)
            members.update(range(previous, last + 1))
            previous = None
        else:
            at, previous = _literal(glob, at)
            members.add(previous)
    if negated:
        members = set(range(256)) - members
    return at + 1, b"[" + b"".join(
        b"\\x%02x" % byte for byte in sorted(members)
    ) + b"]" if members else b"(?!)"


def _posix_members(name: bytes) -> set[int]:
    if name not in _POSIX_CLASSES:
        raise ValueError(f"there is no class [:{name.decode(errors='replace')}:]")
    return {byte for byte in range(256) if re.match(_POSIX_CLASSES[name], bytes([byte]))}


def _defaults(*globs: bytes) -> Rules:
    """Return `globs` as one rule with one pattern: every name of every source meets it."""
    return Rules((_Rule(False, False, 0, (), _compile(b"|".join(map(_translate, globs)))),))  # noqa: FBT003


DEFAULT_RULES = _defaults(
    IGNORE_FILE,
    *(b".hg", b".svn", b".bzr", b"CVS", b"_darcs"),  # other version control; `.git` is never deployed
    *(b"*.swp", b"*.swo", b"*.swx", b"4913", b"*~"),  # vim and many others
    *(b".#*", b"#*#"),  # emacs
    *(
        b"*___jb_tmp___",
        b"*___jb_old___",
        b".goutputstream-*",
        b".~lock.*#",
        b"~$*",
    ),  # JetBrains, GLib, offices
    *(b"*.tmp", b".nfs*", b".fuse_hidden*", b".DS_Store", b"lost+found"),
)
"""What editors, desktops and file systems leave behind. A negation in an ignore file brings such a name back."""
