"""Whether git is at work in the work tree that a directory is in."""

from __future__ import annotations

import os
import stat

_POINTER_LIMIT = 8192


def git_busy(root: str) -> bool:
    """Tell whether the index of the work tree around `root` is locked, as it is during a checkout, merge or commit.

    Looks in `root` and its parents; follows the `.git` file of linked work trees and submodules. False without git, and
    where nothing can be told. A lock may be left over from a crash: how long to believe it is the caller's decision.
    """
    directory = os.path.realpath(root)
    while True:
        found = _git_directory(directory)
        if found:
            return os.path.lexists(os.path.join(found, "index.lock"))
        parent = os.path.dirname(directory)
        if parent == directory:
            return False
        directory = parent


def _git_directory(work_tree: str) -> str:
    """Return where git keeps the index of `work_tree`; "" where that is no work tree."""
    git = os.path.join(work_tree, ".git")
    try:
        mode = os.stat(git).st_mode
        if stat.S_ISDIR(mode):
            return git
        if stat.S_ISREG(mode):
            with open(git, encoding="utf-8", errors="surrogateescape") as pointer:
                word, _, where = pointer.read(_POINTER_LIMIT).rstrip("\n").partition(": ")
            return os.path.join(work_tree, where) if word == "gitdir" else ""
    except OSError:
        pass
    return ""
