"""Measures Headgate, its peers and the limits, prints what it found and writes docs/performance.md.

    make bench                  everything: half an hour or more
    make bench QUICK=1          everything at small sizes: minutes
    make bench ONLY=latency     one benchmark

Nothing else should run on the machine meanwhile; where that cannot be had, the ratios still hold, for all that is compared is interleaved.
"""

from __future__ import annotations

import argparse
import compileall
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import headgate
import headgated
from benchmarks import api, bulk, computing, counts, document, footprint, latency, machine, many, records
from benchmarks.result import Result, load
from benchmarks.setting import Setting

BENCHMARKS: dict[str, Callable[[Setting], Result]] = {
    "latency": latency.run,
    "bulk": bulk.run,
    "records": records.run,
    "many": many.run,
    "computing": computing.run,
    "api": api.run,
    "footprint": footprint.run,
    "counts": counts.run,
}
HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOCUMENT = HERE.parent / "docs" / "performance.md"


def main() -> int:
    """Run what was asked for; 1 where some benchmark could not be carried out."""
    options = _options()
    _compile()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # What was started is ended on the way out.
    failed = False
    for name in options.only or BENCHMARKS:
        directory = Path(tempfile.mkdtemp(prefix="hgb-", dir=options.directory))
        try:
            result = _run(name, Setting(directory, options.quick, options.minutes, options.most))
        except Exception as error:  # noqa: BLE001 - one that fails must not cost the others their figures
            print(f"cannot measure {name}: {error!r}", file=sys.stderr)
            failed = True
            continue
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        print(document.terminal(result), flush=True)
        result.save(options.results)
    found = [load(path) for name in BENCHMARKS if (path := options.results / f"{name}.json").exists()]
    document.write(found, options.document)
    return int(failed)


def _compile() -> None:
    """Have byte code for our own modules, as an installation has: a program that compiles itself starts late and is larger."""
    for package in (headgate, headgated):
        compileall.compile_dir(Path(package.__file__ or "").parent, quiet=1)


def _run(name: str, setting: Setting) -> Result:
    began = time.monotonic()
    result = BENCHMARKS[name](setting)
    result.quick = setting.quick
    result.date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    result.seconds = time.monotonic() - began
    result.machine = machine.describe(setting.directory)
    return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="this one; may be said again")
    parser.add_argument("--most", type=int, default=100_000, help="files in the largest tree (100000)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="about how long the rounds of one benchmark may take (10)"
    )
    parser.add_argument(
        "--directory", type=Path, help="where to work (default: the system's for temporaries)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept, as JSON")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="what to write")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
