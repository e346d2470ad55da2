"""The limit programs, in C, and where `make bench` puts them."""

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
