"""The command line: `headgate`, for people and scripts.

Everything it prints and every exit code is described in docs/cli.md. A verb imports what it needs when it runs: asking for the
version or a help text loads no gRPC.
"""

from __future__ import annotations

import atexit
import gc
import sys

from headgate import __version__


def main() -> None:
    """Run the command line of this process and exit."""
    if sys.argv[1:] == ["--version"]:  # the one thing that does not even need click
        print(f"headgate {__version__}")  # noqa: T201 -- as above
        return
    # A fifth of a short run would go into looking for garbage among what imports made, and once more at its end.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    from headgate.cli.root import headgate  # noqa: PLC0415 -- see above

    headgate(prog_name="headgate")
