"""Source trees that change at random, and pictures of trees to compare."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path

Picture = dict[str, str]
"""Path -> kind, mode and content; everything below a directory."""

DIRECTORIES = ("", "a", "a/b", "c", "c/d/e")
NAMES = tuple(f"f{number}" for number in range(8))
MODES = (0o644, 0o600, 0o755)


def picture(root: Path) -> Picture:
    """Return what is below `root`; empty where it does not exist."""
    found: Picture = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                seen = f"link {os.readlink(path)}"
            elif stat.S_ISDIR(status.st_mode):
                seen = f"directory {stat.S_IMODE(status.st_mode):o}"
            else:
                seen = (
                    f"file {stat.S_IMODE(status.st_mode):o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
                )
            found[str(path.relative_to(root))] = seen
    return found


def alike(one: Path, other: Path) -> bool:
    """Tell whether both hold the same; no, while one of them moves."""
    try:
        return picture(one) == picture(other)
    except OSError:
        return False


def differences(one: Picture, other: Picture) -> dict[str, tuple[str | None, str | None]]:
    """Return each path that is not the same in both, with what is there."""
    paths = one.keys() | other.keys()
    return {path: (one.get(path), other.get(path)) for path in paths if one.get(path) != other.get(path)}


def leftovers(root: Path) -> list[str]:
    """Return every temporary of ours below `root`."""
    return [path for path in picture(root) if ".headgate-" in path]


def grow(source: Path, rng: random.Random) -> None:
    """Make a source of some forty files."""
    source.mkdir()
    for directory in DIRECTORIES:
        (source / directory).mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            write(source / directory / name, rng)


def shuffle(source: Path, rng: random.Random) -> None:
    """Change some of a source: write, remove, chmod, link, turn files into directories and back."""
    for _ in range(rng.randint(1, 12)):
        at = source / rng.choice(DIRECTORIES) / rng.choice(NAMES)
        deed = rng.random()
        if deed < 0.6:
            clear(at)
            write(at, rng)
        elif deed < 0.75:
            clear(at)
        elif deed < 0.85 and at.is_file() and not at.is_symlink():
            at.chmod(rng.choice(MODES))
        elif deed < 0.95:
            clear(at)
            at.symlink_to(rng.choice(NAMES))
        else:
            clear(at)
            at.mkdir()
            write(at / "inner", rng)
    for directory in DIRECTORIES:  # never so little that it looks broken
        write(source / directory / "always", rng)


def write(path: Path, rng: random.Random) -> None:
    """Write a file of some hundred bytes to some ten thousand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rng.randbytes(rng.choice((100, 1000, 20_000))))
    path.chmod(rng.choice(MODES))


def clear(path: Path) -> None:
    """Remove whatever is there."""
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            clear(inner)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


SECRET = "the-secret-of-the-kill-test"


def sprinkle(source: Path, rng: random.Random) -> None:
    """Have a few of the files of a source refer to a secret: text, for what is binary is copied as it is."""
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    for path in rng.sample(files, min(len(files), 4)):
        path.write_bytes(rng.randbytes(rng.randint(1, 3000)).hex().encode() + b"\n${SECRET}\n")


def opened(source: Path) -> Picture:
    """Return, for the files of a source that refer to the secret, what a target has of them."""
    found: Picture = {}
    for path in source.rglob("*"):
        if path.is_file() and not path.is_symlink() and b"${SECRET}" in (content := path.read_bytes()):
            digest = hashlib.sha256(content.replace(b"${SECRET}", SECRET.encode())).hexdigest()
            found[str(path.relative_to(source))] = f"file {path.stat().st_mode & 0o600:o} {digest}"
    return found
