"""The daemon's configuration file: what may be in it, what it defaults to, and everything that is wrong with one.

`docs/configuration.md` is its manual. The file is root's: nobody can grant themselves over the API what it does not grant. Reading
it from disk, and looking at who may write it, is not done here (`effects.config_file`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headgated.core.command_tables import TABLES as COMMAND_TABLES, read_commands
from headgated.core.commands import Commands
from headgated.core.masking import USUAL, SecretNames
from headgated.core.quantities import (
    absolute_path,
    absolute_paths,
    count,
    duration,
    group_name,
    network_address,
    one_of,
    path_or_none,
    size,
    socket_mode,
    socket_path,
    variable_names,
)
from headgated.core.roles import DEFAULT_GRANTS, Grant
from headgated.core.tables import Tables, apart, each, key

MIB, GIB = 1024**2, 1024**3


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """`[daemon]`: where it keeps its state and listens."""

    state_directory: str = key("/var/lib/headgate", absolute_path)
    socket: str = key("/run/headgate/headgate.sock", socket_path)
    socket_group: str = key("headgate", group_name)
    """Its members may talk to the daemon; empty: the daemon's own group."""
    socket_mode: int = key(0o660, socket_mode)
    """Who may connect at all; what they may do then is for `[[grants]]`."""
    check_directory: str = key("", path_or_none)
    """Where copies of targets are made for checks; empty: in the state directory, where no other user comes."""
    log_level: str = key("info", one_of("debug", "info", "warning", "error"))


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """`[settle]`: how long sources must be quiet, where an environment does not say it itself. Seconds."""

    quiet: float = key(0.02, duration(0, 3600))
    latest: float = key(2.0, duration(0, 3600))


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """`[watch]`: what is done besides waiting for events. Seconds."""

    scan_interval: float = key(60.0, duration(1, 86400))
    full_hash_interval: float = key(3600.0, duration(60, 30 * 86400))
    git_wait: float = key(60.0, duration(0, 3600))


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """`[limits]`: of one source, and of how much there is."""

    max_files: int = key(1_000_000, count(1, 100_000_000))
    max_file_size: int = key(GIB, size(1, 1024 * GIB))
    """Bytes."""
    stream_above: int = key(64 * MIB, size(MIB, GIB))
    """Bytes of the largest file that may be in memory whole; a larger one is only copied, piece by piece."""
    max_environments: int = key(1000, count(1, 100_000))


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """`[retention]`: what history keeps. What exceeds any limit goes, the oldest first."""

    count: int = key(100, count(1, 1_000_000))
    """Deployments of each environment."""
    max_age: float = key(90 * 86400.0, duration(60, 36500 * 86400))
    """Seconds."""
    max_size: int = key(10 * GIB, size(1024**2, 1024**2 * GIB))
    """Bytes, of all environments together."""
    interval: float = key(3600.0, duration(1, 30 * 86400))
    """Seconds between two collections."""


@dataclass(frozen=True, slots=True)
class RootSettings:
    """`[roots]`: directories that sources and targets must be in. None: they may be anywhere."""

    sources: tuple[str, ...] = key((), absolute_paths)
    targets: tuple[str, ...] = key((), absolute_paths)


@dataclass(frozen=True, slots=True)
class SecretSettings:
    """`[secrets]`: where environments may have their secrets from, besides credentials and `[providers.*]`."""

    files: tuple[str, ...] = key(("/etc/headgate/secrets",), absolute_paths)
    """Directories that `file:` may name files in."""
    environment: tuple[str, ...] = key((), variable_names)
    """Variables of the daemon's environment that `env:` may name."""
    refresh: float = key(30.0, duration(0.1, 86400))
    """Seconds after which a secret is looked up again."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """`[api]`: how much the daemon does at once for those who call it."""

    connections: int = key(400, count(32, 100_000))
    """On the local socket; some of them are kept for root and the daemon's own user."""
    connections_per_user: int = key(200, count(1, 100_000))
    first_bytes: float = key(5.0, duration(0.1, 600))
    """Seconds that a connection may be silent at its beginning."""
    calls: int = key(1000, count(1, 100_000))
    calls_per_user: int = key(500, count(1, 100_000))
    watchers: int = key(2000, count(1, 100_000))
    watchers_per_user: int = key(1200, count(1, 100_000))


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """`[tcp]`: a second way in, over the network, for those with a certificate."""

    address: str = key("", network_address)
    """Empty: none."""
    certificate: str = key("", path_or_none)
    """The daemon's own chain, PEM."""
    private_key: str = key("", path_or_none)
    client_ca: str = key("", path_or_none)
    """Whose certificates are taken from clients, PEM."""
    connections: int = key(200, count(1, 100_000))

    def faults(self, given: frozenset[str]) -> Mapping[str, str]:
        """Return what is wrong with it as a whole, by key; `given` are the keys that the file has."""
        needed = {
            "certificate": self.certificate,
            "private_key": self.private_key,
            "client_ca": self.client_ca,
        }
        if not self.address:
            return {}
        why = "is missing: TCP is served with mutual TLS only"
        return {name: why for name, path in needed.items() if not path and name not in given}


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """`[audit]`: how large the audit log grows."""

    max_size: int = key(16 * 1024**2, size(64 * 1024, 256 * 1024**2))
    """Bytes of one file; then another one is begun."""
    keep: int = key(50, count(1, 10_000))
    """Files that are full; of more, the oldest goes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the file says, with defaults for what it does not. Each field is one table."""

    daemon: DaemonSettings = DaemonSettings()
    settle: SettleSettings = SettleSettings()
    watch: WatchSettings = WatchSettings()
    limits: LimitSettings = LimitSettings()
    retention: RetentionSettings = RetentionSettings()
    roots: RootSettings = RootSettings()
    secrets: SecretSettings = SecretSettings()
    api: ApiSettings = ApiSettings()
    tcp: TcpSettings = TcpSettings()
    audit: AuditSettings = AuditSettings()
    masking: SecretNames = USUAL
    grants: tuple[Grant, ...] = each(DEFAULT_GRANTS, Grant)
    commands: Commands = apart(Commands())  # noqa: RUF009 - declares a field, as the others do
    """`[commands.*]`, `[checks.*]`, `[reloads.*]`, `[health.*]`, `[providers.*]`."""


def parse(text: str) -> Settings:
    """Return the settings that a configuration file makes.

    Raises:
        InvalidRequestError: with every fault, each with the line that it is in.
    """
    tables = Tables(text, Settings, besides=COMMAND_TABLES)
    settings = Settings(**tables.read(), commands=read_commands(tables.besides(), tables.fault))
    _check_order(settings.settle, tables)
    tables.close()
    return settings


def _check_order(settle: SettleSettings, tables: Tables) -> None:
    if settle.quiet <= settle.latest:
        return
    if tables.given("settle", "quiet"):
        tables.fault(("settle", "quiet"), f"is longer than latest ({settle.latest:g} s)")
    else:
        tables.fault(("settle", "latest"), f"is shorter than quiet ({settle.quiet:g} s)")
