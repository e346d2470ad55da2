"""`headgated install-units`: arguments, and what to do next. See `effects.units` for what is written."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from headgated.effects.units import Programs, install, system_files, user_files, vendor_files

_NEXT = {
    "system": """\
systemd-sysusers && systemd-tmpfiles --create && sysctl --quiet --system
systemctl daemon-reload && systemctl enable --now headgated.socket headgated.service
usermod --append --groups headgate NAME    # for each person who may connect""",
    "user": """\
systemctl --user daemon-reload && systemctl --user enable --now headgated.socket headgated.service
loginctl enable-linger                     # to have it run while you are not logged in""",
}


def install_units(arguments: list[str]) -> int:
    """Write the units and say what to do next; returns the exit code.

    Raises:
        HeadgateError: they cannot be written.
    """
    options = _parser().parse_args(arguments)
    if options.prefix is not None:
        wanted, following = vendor_files(options.prefix.absolute()), ""
    elif options.user:
        home = os.environ.get("XDG_CONFIG_HOME", "")
        wanted, following = user_files(Path(home or Path.home() / ".config")), _NEXT["user"]
    else:
        wanted, following = system_files(Path("/etc")), _NEXT["system"]
    for path in install(wanted, _programs(options.bin_dir)):
        print(path)
    if following:
        print("\nNext:")
        print("\n".join(f"  {line}" for line in following.splitlines()))
    return 0


def _programs(directory: Path | None) -> Programs:
    """Return the programs of this installation: those beside the one that runs."""
    here = directory if directory is not None else Path(sys.executable).parent
    return Programs(here.absolute() / "headgated", here.absolute() / "headgate")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headgated install-units",
        description="Writes systemd's units for an installation by pip or pipx, with its paths filled in. Starts nothing.",
        epilog="The Debian package brings its units itself. More: docs/operations.md.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--user", action="store_true", help="for yourself alone, without root (default: for the machine)"
    )
    where.add_argument(
        "--prefix", type=Path, metavar="DIR", help="below DIR/lib and DIR/share, to make a package of it"
    )
    parser.add_argument(
        "--bin-dir",
        type=Path,
        metavar="DIR",
        help="where headgated and headgate are, as units shall name it (default: where this one is)",
    )
    return parser
