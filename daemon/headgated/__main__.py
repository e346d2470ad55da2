"""`headgated`: arguments only. See `app` for what runs."""

from __future__ import annotations

import os

# Before anything imports grpc: its fork handlers crash children of a busy server (grpc/grpc#43055).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import sys

# asyncio would take TLS in, which is megabytes, and does without where there is none: gRPC, which needs it, brings its own.
if "ssl" not in sys.modules:
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio

    del sys.modules["ssl"]

import argparse
import asyncio
import faulthandler
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

from headgate import __version__
from headgated.core.config import Settings
from headgated.core.errors import HeadgateError, InvalidRequestError, RefusedError
from headgated.effects.accounts import roles_of
from headgated.effects.config_file import read_config
from headgated.effects.logs import complain, start_log
from headgated.effects.memory import use_one_heap
from headgated.effects.systemd import notify

CONFIG = Path("/etc/headgate/headgated.toml")
INSTALL = "install-units"
LEVELS = ("debug", "info", "warning", "error")
FAILED = 1
USAGE = 2
LOCKED = 4


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon in the foreground; returns its exit code (0 stopped, 1 failed, 2 usage, 4 refused)."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == [INSTALL]:
        from headgated.install import install_units  # noqa: PLC0415 - a daemon has no use for it

        try:
            return install_units(given[1:])
        except HeadgateError as error:
            return _complain(error, LOCKED if isinstance(error, RefusedError) else FAILED)
    options = _parser().parse_args(given)
    read = partial(_settings, options, _config(options))
    try:
        settings = read()
    except HeadgateError as error:
        return (_complain if options.check_config else _refuse)(error, USAGE)
    start_log(settings.daemon.log_level)
    if options.check_config:
        for doubt in roles_of(settings.grants)[1]:
            print(f"headgated: {doubt}", file=sys.stderr)
        path = _config(options)
        print(f"{path} is right" if path is not None else f"there is no {CONFIG}: the defaults hold")
        return 0
    faulthandler.enable()  # Where systemd's watchdog ends it (SIGABRT), the journal shows what every thread was at.
    use_one_heap()
    from headgated.app import App, Places, serve  # noqa: PLC0415 - what follows takes its time to import

    ready = None
    if options.example is not None:
        from headgated.example import Example  # noqa: PLC0415

        ready = Example(
            options.example, Path(settings.daemon.state_directory), Path(settings.daemon.socket)
        ).begin
    daemon = settings.daemon
    group = daemon.socket_group if options.example is None else None
    places = Places(Path(daemon.state_directory), Path(daemon.socket), group or None)
    try:
        asyncio.run(serve(App(settings, places, __version__, read), ready))
    except HeadgateError as error:
        return _refuse(error, LOCKED if error.reason == "STATE_LOCKED" else FAILED)
    except OSError as error:
        logging.getLogger("headgated").debug("cannot start", exc_info=True)
        complain(f"cannot start: {error}")
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headgated",
        description="Watches directories of configuration and deploys each change, all or nothing and reversibly.",
        epilog="Talk to it with `headgate`. Stop it with SIGTERM or Ctrl-C; SIGHUP makes it read its configuration again and scan every source."
        " To run it under systemd: headgated install-units --help.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration (default: {CONFIG}, if there is one)"
    )
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="where records and history are kept")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="where to listen")
    parser.add_argument("--log-level", choices=LEVELS, help="how much to log")
    parser.add_argument("--check-config", action="store_true", help="check the configuration and exit")
    parser.add_argument(
        "--example",
        type=Path,
        metavar="DIR",
        help="serve the example in DIR (its sources shared, development and production), and say what to try",
    )
    parser.add_argument("--version", action="version", version=f"headgated {__version__}")
    return parser


def _config(options: argparse.Namespace) -> Path | None:
    """Return the file to read; from then on it must be there, also at a reload: a lost file must not mean the defaults."""
    path: Path | None = options.config
    if path is None and CONFIG.exists() and options.example is None:
        return CONFIG
    return path.absolute() if path is not None else None


def _settings(options: argparse.Namespace, path: Path | None) -> Settings:
    """Return the configuration file's settings with the command line's laid over them."""
    settings = Settings() if path is None else read_config(path)
    daemon = settings.daemon
    if options.state_dir is not None:
        daemon = replace(daemon, state_directory=str(options.state_dir.absolute()))
    if options.socket is not None:
        daemon = replace(daemon, socket=str(options.socket.absolute()))
    if options.log_level is not None:
        daemon = replace(daemon, log_level=options.log_level)
    return replace(settings, daemon=daemon)


def _complain(error: HeadgateError, code: int) -> int:
    if isinstance(error, InvalidRequestError) and len(error.faults) > 1:
        faults = [f"{fault.field}: {fault.message}" for fault in error.faults]
        complain(f"cannot {error.what}: {len(faults)} things are wrong", error.hint, faults)
    else:
        complain(error.message, error.hint)
    return code


def _refuse(error: HeadgateError, code: int) -> int:
    """Say why the daemon does not start, to `systemctl status` too."""
    notify(f"STATUS={error.message}")
    return _complain(error, code)


if __name__ == "__main__":
    sys.exit(main())
