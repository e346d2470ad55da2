"""The limit programs: those in C, where `make bench` puts them, and one in Python, which is run as it is."""

from __future__ import annotations

from pathlib import Path

BUILT = Path(__file__).parents[2] / "build" / "bench"


def program(name: str) -> str:
    """Return the path of a limit program.

    Raises:
        FileNotFoundError: nobody has compiled it.
    """
    path = BUILT / name
    if not path.exists():
        raise FileNotFoundError(f"cannot measure: {name} is not compiled; run: make bench")
    return str(path)
