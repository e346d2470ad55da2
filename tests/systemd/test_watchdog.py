"""A daemon that stands still is found and started anew, whether all of it stands still or only one worker."""

from __future__ import annotations

import pytest
from tests.e2e.harness import eventually
from tests.systemd.site import Site

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(300)]
IMPATIENT = "[Service]\nWatchdogSec=4\nTimeoutAbortSec=5\n"
"""Long enough for a daemon that is well on a machine that is busy."""

# Put into the daemon by the test, from outside: takes an environment's lock and never gives it back, as a bug would.
SABOTAGE = """
import gc, os, threading, time

def lie_in_wait():
    while not os.path.exists("/run/headgate/sabotage"):
        time.sleep(0.1)
    from headgated.engine.runtime import Runtime
    name = open("/run/headgate/sabotage").read()
    os.unlink("/run/headgate/sabotage")
    gc.unfreeze()  # What was there at the start is kept out of sight otherwise.
    for runtime in [each for each in gc.get_objects() if isinstance(each, Runtime)]:
        if runtime.name == name:
            runtime.lock.acquire()
    threading.Event().wait()

threading.Thread(target=lie_in_wait, daemon=True).start()
"""


def test_stopped_daemon_is_found_and_started_anew(site: Site) -> None:
    machine = site.machine
    with machine.drop_in("impatient", IMPATIENT):
        before, restarts = machine.pid(), int(machine.show("NRestarts"))
        machine.run("kill", "-STOP", str(before))
        eventually(lambda: int(machine.show("NRestarts")) > restarts, within=30, what="the watchdog")
        machine.wait_until("active")
        assert "Watchdog timeout" in machine.journal("-u", "headgated.service")
        site.edit("after the watchdog\n")
        eventually(lambda: site.deployed() == "after the watchdog\n", what="the edit to arrive")


def test_stuck_worker_is_found_named_and_started_anew(site: Site) -> None:
    machine = site.machine
    packages = machine.run("/opt/headgate/bin/python3", "-c", "import site; print(site.getsitepackages()[0])")
    where = packages.stdout.strip()
    machine.write(f"{where}/sabotage.py", SABOTAGE)
    machine.write(
        f"{where}/sabotage.pth", "import sys; 'headgated' in sys.argv[0] and __import__('sabotage')\n"
    )
    try:
        with machine.drop_in("impatient", IMPATIENT):
            restarts = int(machine.show("NRestarts"))
            machine.write("/run/headgate/sabotage.new", site.name)
            (machine.root / "run/headgate/sabotage.new").rename(machine.root / "run/headgate/sabotage")
            eventually(lambda: not (machine.root / "run/headgate/sabotage").exists(), what="the sabotage")
            site.edit("seen too late\n")
            eventually(lambda: int(machine.show("NRestarts")) > restarts, within=40, what="the watchdog")
            (machine.root / where.lstrip("/") / "sabotage.pth").unlink()
            eventually(lambda: site.deployed() == "seen too late\n", within=30, what="the edit to arrive")
    finally:
        (machine.root / where.lstrip("/") / "sabotage.pth").unlink(missing_ok=True)
        (machine.root / where.lstrip("/") / "sabotage.py").unlink(missing_ok=True)
    said = machine.journal("-u", "headgated.service", "PRIORITY=2")
    assert f"for {site.name} is stuck" in said
    assert "headgated/engine" in said  # Where it stands in the code.
