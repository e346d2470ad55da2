"""A machine of the tests' own: a container with a real systemd, started from this machine's own files and thrown away afterwards.

Its root is an overlay over `/` whose upper layer is in memory, so nothing outside of it is changed. It has its own network,
processes, users' database and journal. What `Machine` mounted is unmounted in any case.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.harness import eventually

from headgate import Client

SOCKET = "/run/headgate/headgate.sock"
BOOT_SECONDS = 60.0
# What a machine for tests has no use for, or must not do.
MASKED = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty.target",
    "man-db.timer",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
]


class CannotBoot(Exception):
    """There is something here that does not let a container be booted."""


class Machine:
    """A container. Boots with `boot`, ends with `close`."""

    def __init__(self) -> None:
        self._cleanup = contextlib.ExitStack()
        self.home = Path(tempfile.mkdtemp(prefix="hg-"))
        self._cleanup.callback(shutil.rmtree, self.home, ignore_errors=True)
        self._uuid = uuid.uuid4().hex
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0
        self.boots: list[float] = []
        """Seconds that each boot took."""
        try:
            self._mount()
        except BaseException:
            self._cleanup.close()
            raise

    @property
    def root(self) -> Path:
        """The root as the machine sees it, /run and /tmp included; while it runs."""
        return Path(f"/proc/{self.leader}/root")

    @property
    def disk(self) -> Path:
        """The root's file system, without what the machine mounts over it."""
        return self.home / "disk" / "root"

    def boot(self) -> None:
        """Boot, and wait until everything is started."""
        began = time.monotonic()
        with (self.home / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                [
                    "systemd-nspawn",
                    "--quiet",
                    f"--directory={self.disk}",
                    f"--machine=headgate-{os.getpid()}",
                    f"--uuid={self._uuid}",
                    "--boot",
                    "--console=pipe",
                    "--keep-unit",
                    "--kill-signal=SIGRTMIN+3",
                    "--link-journal=no",
                    "--register=no",
                    "--private-network",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        try:
            self.leader = eventually(self._find_leader, within=BOOT_SECONDS, what="the container's systemd")
            eventually(self._is_up, within=BOOT_SECONDS, what="the container to have booted")
        except (AssertionError, CannotBoot) as error:
            said = (self.home / "console").read_text(errors="replace")[-2000:]
            raise CannotBoot(f"{error}; the console says: {said}") from error
        self.boots.append(time.monotonic() - began)

    def shut_down(self) -> None:
        """Shut down as `poweroff` does; harmless when it is down."""
        nspawn, self._nspawn = self._nspawn, None
        if nspawn is None:
            return
        if self.leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGRTMIN + 3)
        try:
            nspawn.wait(15)
        except subprocess.TimeoutExpired:
            if self.leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.leader, signal.SIGKILL)
            nspawn.kill()
            nspawn.wait(15)
        self.leader = 0

    def close(self) -> None:
        """Shut down and leave nothing."""
        try:
            self.shut_down()
        finally:
            self._cleanup.close()

    def run(
        self, *command: str | Path, check: bool = True, timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, as root."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.leader), "--all", "--", *map(str, command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "NO_COLOR": "1"},
        )
        assert not check or done.returncode == 0, (
            f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run systemctl; returns what it printed."""
        return self.run("systemctl", "--no-pager", *arguments, check=check).stdout.strip()

    def show(self, name: str, unit: str = "headgated.service") -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def pid(self) -> int:
        """Return the daemon's process id in the machine; 0 where it does not run."""
        return int(self.show("MainPID"))

    def kill(self) -> int:
        """Kill the daemon, at once, if there is one now; returns its process id outside of the machine, or 0."""
        for child in Path(f"/proc/{self.leader}/task/{self.leader}/children").read_text().split():
            with contextlib.suppress(OSError):
                # Named in brackets while systemd makes it ready.
                if Path(f"/proc/{child}/comm").read_text().strip() in ("headgated", "(eadgated)"):
                    os.kill(int(child), signal.SIGKILL)
                    return int(child)
        return 0

    def journal(self, *matches: str, output: str = "cat") -> str:
        """Return what the journal holds for these matches."""
        self.run("journalctl", "--sync", check=False)
        return self.run("journalctl", "--no-pager", "-q", f"--output={output}", *matches).stdout

    def wait_until(self, state: str, unit: str = "headgated.service", within: float = 30) -> None:
        """Wait until a unit is in a state."""
        eventually(
            lambda: self.show("ActiveState", unit) == state,
            within=within,
            what=f"{unit} to be {state}: {self.run('systemctl', 'status', unit, check=False).stdout}",
        )

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the machine."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path: str) -> str:
        """Read a file in the machine."""
        return (self.root / path.lstrip("/")).read_text()

    def client(self, timeout: float = 30, socket: str = SOCKET) -> Client:
        """Return a client of the daemon in the machine."""
        return Client(f"unix:{self.root}{socket}", timeout=timeout)

    @contextlib.contextmanager
    def drop_in(self, name: str, text: str) -> Iterator[None]:
        """Have a drop-in for the service until the end of the block; restarts it at both ends."""
        path = f"/run/systemd/system/headgated.service.d/{name}.conf"
        self.write(path, text)
        self.systemctl("daemon-reload")
        self.systemctl("restart", "headgated.service")
        try:
            yield
        finally:
            (self.root / path.lstrip("/")).unlink()
            self.systemctl("daemon-reload")
            self.systemctl("restart", "headgated.service")

    def _mount(self) -> None:
        layer, over = self.home / "disk", self.home / "disk" / "root"
        layer.mkdir()
        self._mounted(layer, "-t", "tmpfs", "-o", "size=3g,mode=755", "tmpfs")
        for name in ("upper", "work", "root"):
            (layer / name).mkdir()
        options = f"lowerdir=/,upperdir={layer}/upper,workdir={layer}/work"
        self._mounted(over, "-t", "overlay", "-o", options, "overlay")
        units = over / "etc/systemd/system"
        units.mkdir(parents=True, exist_ok=True)
        for unit in MASKED:
            (units / unit).unlink(missing_ok=True)
            (units / unit).symlink_to("/dev/null")
        (over / "etc/fstab").write_text("")
        # Some images for containers forbid packages to start anything.
        (over / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        # The index of all manual pages would be made anew after each installation and removal.
        (over / "var/lib/man-db/auto-update").unlink(missing_ok=True)

    def _mounted(self, where: Path, *arguments: str) -> None:
        done = subprocess.run(
            ["mount", *arguments, where],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise CannotBoot(f"may not mount here: {done.stderr.strip()}")
        self._cleanup.callback(_unmount, where)

    def _find_leader(self) -> int:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise CannotBoot(f"systemd-nspawn ended with {self._nspawn.returncode}")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return 0

    def _is_up(self) -> bool:
        done = self.run("systemctl", "is-system-running", check=False)
        return done.stdout.strip() in ("running", "degraded")


def _unmount(where: Path) -> None:
    subprocess.run(["umount", "--lazy", where], check=True)
