"""Real input that nobody here made, and more of it than is comfortable."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.harness import SUCCESS, SYNCED, Daemon, eventually, running, same, state_of, tree_of
from tests.guard.counting import in_memory
from tests.torture.scale import times

from headgate import Client
from headgate.v1.deployment_pb2 import ConfigDeployment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]


def create(client: Client, name: str, source: Path, target: Path) -> None:
    client.create_environment(
        name,
        type="testing",
        config_path=str(target),
        sources=[str(source)],
        policies={"allow_external_symlinks": True},
    )


def test_copy_of_etc_arrives_edits_arrive_alone_and_rollback_restores(daemon: Daemon, client: Client) -> None:
    """Symlinks, modes and binary files as they come."""
    source, target = daemon.home / "etc", daemon.home / "etc-deployed"
    copied = subprocess.run(["cp", "-a", "/etc", source], capture_output=True, check=False)
    assert source.is_dir(), copied.stderr
    for path in source.rglob("*"):
        if not path.is_symlink() and not os.access(path, os.R_OK):
            path.unlink()  # Only for those who are not root; a file that cannot be read is another test's matter.
    for junk in [
        p for p in source.rglob("*") if p.name.startswith((".#",)) or p.name.endswith(("~", ".swp"))
    ]:
        junk.unlink()
    expected = {path: value for path, value in tree_of(source).items() if not is_ignored(path)}
    create(client, "etc", source, target)
    eventually(lambda: state_of(client, "etc") == SYNCED, within=60)
    assert tree_of(target) == expected
    assert len(expected) > 100

    first = next(client.list_deployments("etc")).deployment_id
    edited = source / "passwd"
    edited.write_bytes(edited.read_bytes() + b"# edited\n")
    eventually(lambda: (target / "passwd").read_bytes() == edited.read_bytes())
    second = eventually(lambda: finished_after(client, first))
    assert second is not None
    record = client.get_deployment(second.deployment_id)
    assert [change.path for change in record.changes.modified] == ["passwd"]
    assert record.changes.added_count == record.changes.removed_count == 0
    client.wait_for_deployment(client.rollback(second.deployment_id).deployment_id)
    assert tree_of(target) == expected


def finished_after(client: Client, first: str) -> ConfigDeployment | None:
    """Return the newest deployment, if it is another one than the first and has succeeded."""
    newest = next(client.list_deployments("etc"))
    return newest if newest.deployment_id != first and newest.status == SUCCESS else None


def is_ignored(path: str) -> bool:
    return any(part in (".git", ".hg", ".svn", ".bzr") for part in path.split("/"))


@pytest.mark.torture
def test_own_history_arrives_commit_by_commit(daemon: Daemon, client: Client) -> None:
    """Each commit of this repository, checked out into a watched source, arrives byte for byte; `git archive` is the witness."""
    log = subprocess.run(
        ["git", "-C", REPOSITORY, "log", "--format=%H"], capture_output=True, text=True, check=False
    )
    commits = log.stdout.split()[::-1]
    if not commits:
        pytest.skip("this copy of the source has no git history")
    recent, older = times(4, 10), times(8, 15)
    if len(commits) > recent + older:
        commits = [*random.Random(1).sample(commits[:-recent], older), *commits[-recent:]]
        order = log.stdout.split()[::-1]
        commits.sort(key=order.index)
    source, target, witness = daemon.home / "src", daemon.home / "dst", daemon.home / "witness"
    subprocess.run(["git", "clone", "-q", "--shared", "--no-checkout", REPOSITORY, source], check=True)
    create(client, "history", source, target)
    for commit in commits:
        subprocess.run(["git", "-C", source, "checkout", "-q", "--force", commit], check=True)
        shutil.rmtree(witness, ignore_errors=True)
        witness.mkdir()
        archive = subprocess.run(["git", "-C", source, "archive", commit], capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", witness], input=archive.stdout, check=True)
        wanted = contents(witness)
        arrives(client, target, wanted, commit)


def arrives(client: Client, target: Path, wanted: dict[str, tuple[object, ...]], commit: str) -> None:
    """Wait until the target has what the commit holds. One that removes most files is meant here: say so."""

    def there() -> bool:
        if client.get_environment("history").sync.halt.reason == "MASS_REMOVAL":
            client.resume_environment("history")
        return contents(target) == wanted

    eventually(there, within=30, what=commit)


def contents(root: Path) -> dict[str, tuple[object, ...]]:
    """Files and links, without directories' modes (git does not keep them); what the source's defaults ignore left out."""
    try:
        found = tree_of(root)
    except FileNotFoundError:
        return {}
    return {
        path: (value[0], int(str(value[1])) & 0o100 if value[0] == "file" else "", value[-1])
        for path, value in found.items()
        if value[0] != "directory" and not path.endswith(".headgateignore")
    }


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(1, 1 + times(1, 3)))
def test_churn_ends_equal(daemon: Daemon, client: Client, seed: int) -> None:
    """Thousands of random creates, writes, renames, moves and deletes of files and directories while the daemon runs."""
    source, target, outside = daemon.home / "src", daemon.home / "dst", daemon.home / "outside"
    source.mkdir()
    outside.mkdir()
    (source / "seed").write_text(f"{seed}\n")
    for number in range(40):
        (source / f"base-{number}").write_text(f"{number}\n")
    create(client, "churn", source, target)
    churn = Churn(random.Random(seed), source, outside)
    for _ in range(times(1200, 3000)):
        churn.step()
    for number in range(40):
        (source / f"base-{number}").write_text("kept\n")

    def equal() -> bool:
        if client.get_environment("churn").sync.halt.reason:
            client.resume_environment("churn")  # Chance removed most of it at once; here that is meant.
        return same(source, target)

    eventually(equal, within=60)


class Churn:
    """Makes random changes below a directory; no step fails."""

    def __init__(self, rng: random.Random, root: Path, outside: Path) -> None:
        self.rng, self.root, self.outside, self.count = rng, root, outside, 0

    def step(self) -> None:
        self.count += 1
        steps = [
            self.write,
            self.write,
            self.replace,
            self.mkdir,
            self.rename,
            self.move_out_and_in,
            self.delete,
            self.chmod,
        ]
        try:
            self.rng.choice(steps)()
        except OSError:
            return  # A name that is taken by another kind: the next step is luckier.

    def directories(self) -> list[Path]:
        return [self.root, *(Path(d) / n for d, names, _ in os.walk(self.root) for n in names)]

    def files(self) -> list[Path]:
        found = [
            Path(d) / n for d, _, names in os.walk(self.root) for n in names if not n.startswith("base-")
        ]
        return found or [self.root / "seed"]

    def fresh(self) -> Path:
        return self.rng.choice(self.directories()) / f"n{self.rng.randrange(60)}"

    def write(self) -> None:
        self.fresh().write_text(f"{self.count} " * self.rng.randrange(1, 200))

    def replace(self) -> None:
        path = self.rng.choice(self.files())
        new = path.with_name(f".{self.count}.swp")
        new.write_text(f"replaced {self.count}\n")
        new.rename(path)

    def mkdir(self) -> None:
        path = self.fresh() / "deep" / "er"
        path.mkdir(parents=True)
        (path / "leaf").write_text(f"{self.count}\n")

    def rename(self) -> None:
        self.rng.choice([*self.files(), *self.directories()[1:]]).rename(self.fresh())

    def move_out_and_in(self) -> None:
        inside = self.directories()[1:]
        parked = list(self.outside.iterdir())
        if parked and self.rng.random() < 0.5:
            parked[0].rename(self.fresh())
        elif inside:
            self.rng.choice(inside).rename(self.outside / f"parked-{self.count}")

    def delete(self) -> None:
        if self.rng.random() < 0.3 and len(self.directories()) > 1:
            shutil.rmtree(self.rng.choice(self.directories()[1:]))
        else:
            self.rng.choice(self.files()).unlink()

    def chmod(self) -> None:
        self.rng.choice(self.files()).chmod(self.rng.choice([0o600, 0o644, 0o755]))


def test_more_events_than_the_queue_holds() -> None:
    """Equal afterwards, although the kernel dropped events: 20,000 files in 4,000 new directories at once.

    In memory, where there is room: what is tried is the queue, and a busy disk takes minutes to forget so many files.
    """
    with running(directory=in_memory()) as daemon, daemon.client() as client:
        _flood(daemon, client)


def _flood(daemon: Daemon, client: Client) -> None:
    source, target = daemon.home / "src", daemon.home / "dst"
    source.mkdir()
    (source / "first").write_text("1\n")
    create(client, "flood", source, target)
    eventually(lambda: same(source, target))
    assert daemon.process is not None
    for number in range(4000):
        directory = source / f"d{number % 100}" / f"e{number}"
        directory.mkdir(parents=True)
        for name in range(5):
            (directory / f"f{name}").write_bytes(b"%d\n" % number)
    eventually(lambda: same(source, target), within=90)
    (source / "last").write_text("still awake\n")
    eventually((target / "last").exists, within=15)
