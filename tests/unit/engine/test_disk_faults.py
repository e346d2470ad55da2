"""Every call that changes a target made to fail in every way: undone, recorded with path and cause, and made good by the next attempt."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.torture.scale import times
from tests.torture.trees import Picture, leftovers, picture
from tests.unit.effects.faults import Fault, Faulty

from headgated import ConfigurationDeployer, DeploymentStatus
from headgated.core.environment import Strategy
from headgated.core.errors import DeploymentFailedError
from headgated.effects.target import Target

pytestmark = [pytest.mark.torture, pytest.mark.timeout(100_000)]

REASONS = {
    errno.ENOSPC: "NO_SPACE",
    errno.EIO: "IO_ERROR",
    errno.EROFS: "READ_ONLY",
    errno.EACCES: "PERMISSION",
    errno.EDQUOT: "QUOTA",
    errno.EXDEV: "CROSS_DEVICE",
    errno.EBUSY: "BUSY",
    errno.ENAMETOOLONG: "NAME_TOO_LONG",
}


class Site:
    """An environment whose every deployment replaces, adds and removes files, links and a directory."""

    def __init__(self, home: Path, strategy: Strategy) -> None:
        self.source, self.target, self.acts = home / "source", home / "target", Faulty()
        self.source.mkdir()
        self.round = 0
        self.deployer = ConfigurationDeployer(
            home / "state", open_target=lambda root: Target(root, acts=self.acts, leeway=0)
        )
        self.deployer.create_environment(
            "web", "testing", self.target, sources=[self.source], auto_sync=False
        )
        self.deployer.change_environment(
            "web", lambda e: replace(e, policies=replace(e.policies, strategy=strategy))
        )
        (self.source / "always").write_text("always\n")
        self.change()
        self.deployer.deploy_configuration("web")

    def change(self) -> None:
        self.round += 1
        coming, going = f"n{self.round}", f"n{self.round - 1}"
        (self.source / "changed").write_text(f"{self.round}\n")
        (self.source / "link").unlink(missing_ok=True)
        (self.source / "link").symlink_to(f"to-{self.round}")
        (self.source / coming).mkdir()
        (self.source / coming / "file").write_text(f"{self.round}\n")
        if (self.source / going).exists():
            (self.source / going / "file").unlink()
            (self.source / going).rmdir()

    def wanted(self) -> Picture:
        return picture(self.source)

    def verbs(self) -> dict[str, int]:
        """Return at which act of a deployment each verb comes first."""
        self.change()
        before = len(self.acts.log)
        self.deployer.deploy_configuration("web")
        log = self.acts.log[before:]
        return {verb: log.index(verb) + 1 for verb in dict.fromkeys(log)}


@pytest.fixture(params=[Strategy.IN_PLACE, Strategy.ATOMIC])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, request.param)
    yield site
    site.deployer.close()


def test_each_call_that_fails_in_each_way_is_undone_told_and_made_good(site: Site) -> None:
    verbs = site.verbs()
    assert {"write", "sync"} <= verbs.keys()
    failed = set()
    share = min(len(REASONS), times(3))
    for number, (verb, at) in enumerate(verbs.items()):
        for code in [tuple(REASONS)[(number * share + n) % len(REASONS)] for n in range(share)]:
            reason = REASONS[code]
            context = f"{verb}: {errno.errorcode[code]}"
            site.change()
            before = picture(site.target)
            site.acts.fired, site.acts.fault = "", Fault(at=len(site.acts.log) + at, code=code)
            with suppress(DeploymentFailedError):
                site.deployer.deploy_configuration("web")
            record = site.deployer.list_deployments("web")[0]
            if record.status == DeploymentStatus.FAILED:
                failed.add(verb)
                assert picture(site.target) == before, context
                assert record.error is not None
                assert record.error.reason in (reason, "CANNOT_CARRY"), context
                assert errno.errorcode[code] in record.error.message, context
                assert record.error.paths, context
                assert record.error.hint, context
            else:  # It was the tidying up; what stays is told, and temporaries go with the next deployment.
                now, wanted = picture(site.target), site.wanted()
                stays = now.keys() - wanted.keys()
                assert {path: now.get(path) for path in wanted} == wanted, context
                told = " ".join(record.changes.notes)
                assert all(".headgate-" in path or path in told for path in stays), (context, stays, told)
                assert not stays or told, context
                for path in stays:
                    if ".headgate-" not in path:
                        (site.target / path).rmdir()
            assert site.acts.fired, context
            site.acts.fault = Fault()
            site.deployer.deploy_configuration("web")
            assert picture(site.target) == site.wanted(), context
            assert not leftovers(site.target), context
    assert "write" in failed
    assert "sync" in failed
    assert site.deployer.history.verify() == []
