"""One look at a source, whole or in part.

Walks by directory descriptors and follows no symlink. Files whose signature is the known one are not opened. A name that
cannot be had becomes a fault and keeps what was known of it; a name that moves under the look is noted in `moved`, and
the look proves nothing until another one finds everything as this one did.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from threading import Event

from headgated.core.errors import DeploymentFailedError, LimitError
from headgated.core.ignore import DEFAULT_RULES, IGNORE_FILE, Rules
from headgated.core.paths import join
from headgated.core.tree import EMPTY, Entry, Kind
from headgated.effects.scan.dirty import Dirty
from headgated.effects.scan.fresh import Fresh
from headgated.effects.scan.ignore_file import find_ignore_file, read_ignore_file
from headgated.effects.scan.known import NEVER_SEEN, Draft, Known
from headgated.effects.scan.limits import ScanLimits
from headgated.effects.scan.reading import (
    MOVED,
    OPEN_DIRECTORY,
    MovedError,
    digest_unmoved,
    is_racy,
    opened,
)
from headgated.effects.scan.refusal import refused_directory, refused_leaf, unreadable
from headgated.effects.signature import look, signature, signatures

_ENCODING = sys.getfilesystemencoding()
"""As `os.fsencode` has it, which asks for each name of what type it is."""


class ScanEndedError(DeploymentFailedError):
    """Whoever looked was told to end."""

    def __init__(self) -> None:
        super().__init__("cannot look at the source to its end: the daemon stops", reason="INTERRUPTED")


class Sweep:
    """One look.

    Args:
        limits: beyond them, parts of the source are faults.
        trust: do not open files whose signature is the known one.
        fresh: takes in the small contents that are read, by digest.
        ended: set when nobody needs the outcome any more.

    Attributes:
        moved: paths that changed while they were looked at.
        names: how many names were looked at; from two on, only another look can tell whether they belong together.
    """

    def __init__(
        self,
        limits: ScanLimits,
        *,
        trust: bool = True,
        fresh: Fresh | None = None,
        ended: Event | None = None,
    ) -> None:
        self._ended = ended
        self.moved: list[bytes] = []
        self.names = 0
        self._limits = limits
        self._trust = trust
        self._fresh = fresh
        self._accepted = 0
        self._numbers: dict[int, int] = {}

    def run(self, root: int, known: Known, dirty: Dirty) -> Known:
        """Return what is known after looking at the dirty parts of the directory `root`; an empty `dirty` means all of it.

        Raises:
            OSError: the root cannot be read.
            LimitError: there are more entries than allowed.
            ScanEndedError: it was ended.
        """
        after = self._directory(root, os.fstat(root), known, b"", DEFAULT_RULES, dirty)
        self._check_count(after.count)
        return after

    def _directory(
        self, here: int, found: os.stat_result, known: Known, path: bytes, inherited: Rules, dirty: Dirty
    ) -> Known:
        self._go_on()
        draft = Draft(known)
        identity = (found.st_dev, found.st_ino)
        partly = (
            dirty and IGNORE_FILE not in dirty and known.identity == identity and known.inherited is inherited
        )
        if partly and known.rules is not None:
            rules, rules_signature = known.rules, known.rules_signature
            self._look_at_some(here, path, rules, dirty, draft)
        else:
            names = _listed(here)
            rules, rules_signature = self._rules(here, path, inherited, draft, there=IGNORE_FILE in names)
            self._look_at_all(here, names, path, rules, draft)
        entry = self._entry(Kind.DIRECTORY, found) if path else EMPTY.entry
        self.names += entry != known.directory.entry
        return draft.finished(entry, identity, inherited, rules, rules_signature)

    def _look_at_all(self, here: int, names: list[bytes], path: bytes, rules: Rules, draft: Draft) -> None:
        ignored, directories = set[bytes](), list[bytes]()
        self.names += 2
        for name in self._doubtful(here, names, rules, draft.known):
            below = join(path, name)
            try:
                found = look(here, name)
            except OSError as error:
                if any(rules.ignores(below, is_directory=either) for either in (False, True)):
                    ignored.add(name)  # comes and goes as it likes
                else:
                    self._failed(name, below, error, draft)
                continue
            is_directory = stat.S_ISDIR(found.st_mode)
            if rules.ignores(below, is_directory=is_directory):
                ignored.add(name)
                continue
            self._accept()
            if is_directory:
                directories.append(name)
            else:
                self._leaf(here, name, below, found, draft)
        for name in directories:
            self._enter(here, name, join(path, name), rules, {}, draft)
        draft.drop_all_but(ignored.symmetric_difference(names))

    def _doubtful(self, here: int, names: list[bytes], rules: Rules, known: Known) -> list[bytes]:
        """Return the names at which signatures alone do not show that all is as it is known."""
        if not self._trust or rules is not known.rules:
            return names
        before = known.signatures
        expected = list(map(before.get, names))
        files = names if None not in expected else [name for name in names if name in before]
        try:
            now = signatures(here, files)
        except OSError:
            return names
        if now == expected:
            return []
        changed = {name for name, one in zip(files, now, strict=True) if before[name] != one}
        return [name for name in names if name in changed or name not in before]

    def _look_at_some(self, here: int, path: bytes, rules: Rules, dirty: Dirty, draft: Draft) -> None:
        for name, dirty_below in dirty.items():
            below = join(path, name)
            try:
                found = look(here, name)
            except FileNotFoundError:
                self.names += 1
                draft.drop(name)
                continue
            except OSError as error:
                self.names += 1
                self._failed(name, below, error, draft)
                continue
            is_directory = stat.S_ISDIR(found.st_mode)
            known = draft.known.below if is_directory else draft.known.signatures
            if name not in known and rules.ignores(below, is_directory=is_directory):
                draft.drop(name)
            elif is_directory:
                self._enter(here, name, below, rules, dirty_below, draft)
            else:
                self.names += 1
                self._leaf(here, name, below, found, draft)

    def _enter(self, here: int, name: bytes, path: bytes, rules: Rules, dirty: Dirty, draft: Draft) -> None:
        """Look at a directory. Where it cannot be read, that is one fault, and all that was known below stays."""
        if fault := refused_directory(path, self._limits):
            draft.keep_fault(name, fault)
            return
        known = draft.known.below.get(name) or NEVER_SEEN
        try:
            with opened(name, OPEN_DIRECTORY, here) as below:
                draft.keep_directory(name, self._directory(below, os.fstat(below), known, path, rules, dirty))
        except OSError as error:
            self._failed(name, path, error, draft)

    def _go_on(self) -> None:
        if self._ended is not None and self._ended.is_set():
            raise ScanEndedError

    def _leaf(self, here: int, name: bytes, path: bytes, found: os.stat_result, draft: Draft) -> None:
        """Look at anything but a directory."""
        self._go_on()
        now_signature = signature(found)
        if self._trust and draft.known.signatures.get(name) == now_signature:
            return
        if fault := refused_leaf(path, found, self._limits):
            draft.keep_fault(name, fault)
            return
        read_at = time.time_ns()
        try:
            entry = self._read(here, name, found, now_signature)
        except MovedError:
            self.moved.append(path)
        except OSError as error:
            self._failed(name, path, error, draft)
        else:
            draft.keep_leaf(name, entry, b"" if is_racy(found, read_at) else now_signature)

    def _read(self, here: int, name: bytes, found: os.stat_result, expected: bytes) -> Entry:
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(name, dir_fd=here)
            if signature(look(here, name)) != expected:
                raise MovedError
            return self._entry(Kind.SYMLINK, found, target=target)
        digest, template = digest_unmoved(here, name, expected, self._fresh)
        return self._entry(Kind.FILE, found, digest=digest, template=template)

    def _entry(
        self,
        kind: Kind,
        found: os.stat_result,
        *,
        digest: bytes = b"",
        target: bytes = b"",
        template: bool = False,
    ) -> Entry:
        """Make an entry; equal numbers are one object, of which 100,000 files need few."""
        one = self._numbers.setdefault
        return Entry(
            kind,
            None if kind == Kind.SYMLINK else one(found.st_mode & 0o7777, found.st_mode & 0o7777),
            digest,
            one(found.st_size, found.st_size) if kind == Kind.FILE else 0,
            target,
            one(found.st_uid, found.st_uid),
            one(found.st_gid, found.st_gid),
            template,
        )

    def _rules(
        self, here: int, path: bytes, inherited: Rules, draft: Draft, *, there: bool
    ) -> tuple[Rules, bytes]:
        """Return what is ignored in a directory, and the signature of the ignore file that says so (see `Known`).

        Where the file cannot be had, that is a fault, and the rules stay what they were.
        """
        known, found = draft.known, find_ignore_file(here) if there else None
        if found is None:
            draft.clear_fault(b"")
            return inherited, b""
        before = known.rules if known.rules is not None and known.inherited is inherited else inherited
        now_signature, read_at = signature(found), time.time_ns()
        if self._trust and now_signature == known.rules_signature and known.inherited is inherited:
            return before, now_signature
        try:
            rules, fault = read_ignore_file(here, path, found, inherited)
        except MovedError:
            self.moved.append(join(path, IGNORE_FILE))
            return before, b""
        except OSError as error:
            self._failed(b"", join(path, IGNORE_FILE), error, draft)
            return before, b""
        if fault:
            draft.keep_fault(b"", fault)
        else:
            draft.clear_fault(b"")
        if rules is None or rules == before:
            rules = before
        return rules, b"" if is_racy(found, read_at) else now_signature

    def _failed(self, name: bytes, path: bytes, error: OSError, draft: Draft) -> None:
        if error.errno in MOVED:
            self.moved.append(path)
        else:
            draft.keep_fault(name, unreadable(path, error))

    def _accept(self) -> None:
        self._accepted += 1
        self._check_count(self._accepted)

    def _check_count(self, count: int) -> None:
        if count > self._limits.max_files:
            why = f"it has more than {self._limits.max_files} files and directories"
            raise LimitError(f"cannot read the source: {why}", reason="TOO_MANY_FILES")


def _listed(here: int) -> list[bytes]:
    """Return the names in an open directory.

    Raises:
        OSError: it cannot be read. Names that nobody may look up are as good as none.
    """
    look(here, b".")
    return [name.encode(_ENCODING, "surrogateescape") for name in os.listdir(here)]
