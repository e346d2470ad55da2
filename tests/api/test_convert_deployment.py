from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.api.memory import FILE, LATER, NOW, deployment

from headgate.v1 import deployment_pb2 as wire
from headgated.api.convert.deployment import brief_message, deployment_message, plan_message
from headgated.api.convert.values import ANSWER_ROOM
from headgated.core.deployment import (
    Changes,
    DeploymentError,
    DeploymentKind,
    DeploymentStatus,
    FileChange,
    Progress,
    RollbackInfo,
    SettingChange,
    StepResult,
    Trigger,
)
from headgated.core.tree import Entry, Kind
from headgated.engine.views import FileDiff, PlanView

LINK = Entry(Kind.SYMLINK, None, target=b"../caf\xe9")
DIRECTORY = Entry(Kind.DIRECTORY, 0o755)
CHANGES = Changes(
    added=(FileChange("new", None, DIRECTORY),),
    modified=(FileChange("a.conf", FILE, replace(FILE, mode=0), drifted=True),),
    removed=(FileChange("link", LINK, None),),
    added_count=1,
    modified_count=2,
    removed_count=3,
    unchanged_count=4,
    omitted_count=5,
    settings_changed=(
        SettingChange("a.conf", "port", "80", None),
        SettingChange("a.conf", "host", None, '""'),
    ),
    notes=("kept: x",),
)
FULL = deployment(
    kind=DeploymentKind.ROLLBACK,
    status=DeploymentStatus.FAILED,
    trigger=Trigger.AUTO_SYNC,
    config_version="sha256:1",
    config_files=("a.conf",),
    changes=CHANGES,
    rollback_info=RollbackInfo("d1", ("d2", "d1"), "r", LATER),
    error=DeploymentError("NO_SPACE", "cannot write: full", "free some", tuple(f"p{n}" for n in range(30))),
    reason="why",
    on_behalf_of="bob",
    started_at=NOW,
    finished_at=LATER,
    attempts=2,
    progress=Progress("apply", 1, 2),
    steps=(StepResult("check", "nginx", ok=False, message="exit 1", output="line 3\n", seconds=0.5),),
    applied_at=NOW,
    confirm_within=90,
    confirm_by=LATER,
    confirmed_at=LATER,
    confirmed_by="ann",
)


def test_deployment_shows_every_field_of_the_protocol() -> None:
    message = deployment_message(FULL)
    assert {f.name for f, _ in message.ListFields()} == {
        f.name for f in wire.ConfigDeployment.DESCRIPTOR.fields
    }
    assert {f.name for f, _ in message.changes.ListFields()} == {
        f.name for f in wire.Changes.DESCRIPTOR.fields
    }
    assert len(message.error.paths) == 30
    assert message.finished_at.ToDatetime(LATER.tzinfo) == LATER


def test_deployment_shows_files_as_they_are() -> None:
    changes = deployment_message(FULL).changes
    [added], [modified], [removed] = changes.added, changes.modified, changes.removed
    assert not added.HasField("before")
    assert (added.after.kind, added.after.mode, added.after.digest) == (wire.FILE_KIND_DIRECTORY, 0o755, "")
    assert modified.before.digest == "sha256:" + bytes(range(32)).hex()
    assert (modified.before.mode, modified.before.size, modified.drifted) == (0o644, 12, True)
    assert removed.before.link_target == r"../caf\xe9"
    assert removed.before.size == len(LINK.target)
    assert not removed.HasField("after")


def test_deployment_tells_a_new_setting_from_an_empty_one() -> None:
    port, host = deployment_message(FULL).changes.settings_changed
    assert (port.old, port.HasField("new")) == ("80", False)
    assert (host.HasField("old"), host.new) == (False, '""')


def test_brief_deployment_has_counts_in_place_of_lists() -> None:
    message = brief_message(FULL)
    changes = message.changes
    assert (changes.added_count, changes.modified_count, changes.removed_count, changes.omitted_count) == (
        1,
        2,
        3,
        5,
    )
    assert [*changes.added, *changes.modified, *changes.removed, *changes.settings_changed] == []
    assert list(changes.notes) == ["kept: x"]
    assert len(message.error.paths) == 10


@pytest.mark.parametrize("status", DeploymentStatus)
@pytest.mark.parametrize("kind", DeploymentKind)
def test_deployment_shows_every_status_and_kind(status: Any, kind: DeploymentKind) -> None:
    message = brief_message(deployment(status=status, kind=kind))
    assert wire.DeploymentStatus.Name(message.status) == f"DEPLOYMENT_STATUS_{status.name}"
    assert wire.DeploymentKind.Name(message.kind) == f"DEPLOYMENT_KIND_{kind.name}"


def test_plain_deployment_leaves_the_rest_unset() -> None:
    message = deployment_message(deployment())
    for field in ("rollback_info", "error", "started_at", "finished_at", "progress"):
        assert not message.HasField(field)


def test_deployment_too_large_to_send_is_cut_and_says_by_how_much() -> None:
    """Ten thousand files with the longest names there are."""
    many = tuple(FileChange(f"{n}/" + "x" * 4000, FILE, FILE) for n in range(9_000))
    settings = tuple(SettingChange("p" * 4000, "k", "1", "2") for _ in range(1_000))
    changes = Changes(modified=many, modified_count=len(many), settings_changed=settings)
    message = deployment_message(deployment(changes=changes))
    assert 1024 * 1024 < message.ByteSize() <= ANSWER_ROOM
    assert len(message.changes.modified) + message.changes.omitted_count == len(many)
    assert message.changes.modified_count == len(many)


def test_deployment_shows_text_that_is_none() -> None:
    message = deployment_message(deployment(reason="caf\udce9", changes=Changes(notes=("kept \udcff",))))
    assert (message.reason, list(message.changes.notes)) == (r"caf\xe9", [r"kept \xff"])


def test_plan_shows_every_field_of_the_protocol() -> None:
    plan = PlanView("web", "sha256:1", CHANGES, (FileDiff("a", "-x", "n"),), CHANGES.removed, FULL.error)
    message = plan_message(plan)
    fields = {f.name for f in wire.PlanDeploymentResponse.DESCRIPTOR.fields}
    assert {f.name for f, _ in message.ListFields()} == fields
    assert {f.name for f, _ in message.diffs[0].ListFields()} == {
        f.name for f in wire.FileDiff.DESCRIPTOR.fields
    }


def test_plan_too_large_to_send_leaves_diffs_out_and_says_so() -> None:
    diffs = tuple(FileDiff(f"{n}", "x" * 1_000_000) for n in range(30))
    message = plan_message(PlanView("web", "", Changes(), diffs))
    assert message.ByteSize() <= ANSWER_ROOM
    assert len(message.diffs) == 30
    assert message.diffs[0].unified
    assert not message.diffs[29].unified
    assert "too large" in message.diffs[29].note
