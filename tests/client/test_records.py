"""Messages in the shape of the records on disk."""

from __future__ import annotations

import json

from headgate.records import deployment_record, environment_record, plan_record, status_record
from headgate.v1 import daemon_pb2, deployment_pb2 as dp, environment_pb2 as ep

WHOLE = {
    "schema_version": 1,
    "deployment_id": "deploy_canal_1700000000",
    "environment": "canal",
    "kind": "deploy",
    "config_version": "sha256:00",
    "status": "rolled_back",
    "sequence": 3,
    "deployed_at": "2023-11-14T22:13:20.000001Z",
    "deployed_by": "alice",
    "trigger": "auto-sync",
    "reason": "why",
    "on_behalf_of": "bob",
    "config_files": ["a.conf"],
    "changes": {
        "added": [
            {
                "path": "a.conf",
                "before": None,
                "after": {
                    "kind": "file",
                    "mode": "0644",
                    "size": 5,
                    "digest": "sha256:01",
                    "link_target": "",
                    "uid": None,
                    "gid": None,
                },
                "drifted": False,
            }
        ],
        "modified": [],
        "removed": [
            {
                "path": "link",
                "before": {
                    "kind": "symlink",
                    "mode": None,
                    "size": 0,
                    "digest": "",
                    "link_target": "a.conf",
                    "uid": 0,
                    "gid": 5,
                },
                "after": None,
                "drifted": True,
            }
        ],
        "added_count": 1,
        "modified_count": 0,
        "removed_count": 1,
        "unchanged_count": 7,
        "omitted_count": 0,
        "settings_changed": [{"path": "a.json", "key": "x.y", "old": None, "new": "1"}],
        "notes": ["n"],
    },
    "rollback_info": {
        "target_deployment_id": "",
        "undone": [],
        "rolled_back_by": "rollback_canal_1",
        "rolled_back_at": "2023-11-14T22:13:20.000000Z",
    },
    "error": {"reason": "R", "message": "m", "hint": "h", "paths": ["p"]},
    "started_at": "2023-11-14T22:13:20.000000Z",
    "finished_at": None,
    "attempts": 2,
    "steps": [
        {
            "step": "check",
            "name": "nginx",
            "ok": False,
            "message": "m",
            "output": "o",
            "seconds": 0.5,
            "attempts": 1,
        }
    ],
    "applied_at": None,
    "confirm_within": 90.0,
    "confirm_by": "2023-11-14T22:13:20.000000Z",
    "confirmed_at": None,
    "confirmed_by": "",
}


def whole() -> dp.ConfigDeployment:
    made = dp.ConfigDeployment(
        deployment_id="deploy_canal_1700000000",
        environment="canal",
        kind=dp.DEPLOYMENT_KIND_DEPLOY,
        config_version="sha256:00",
        status=dp.DEPLOYMENT_STATUS_ROLLED_BACK,
        sequence=3,
        deployed_by="alice",
        trigger=dp.DEPLOYMENT_TRIGGER_AUTO_SYNC,
        reason="why",
        on_behalf_of="bob",
        config_files=["a.conf"],
        attempts=2,
        error=dp.DeploymentError(reason="R", message="m", hint="h", paths=["p"]),
    )
    made.deployed_at.FromMicroseconds(1_700_000_000_000_001)
    made.started_at.FromSeconds(1_700_000_000)
    made.rollback_info.rolled_back_by = "rollback_canal_1"
    made.rollback_info.rolled_back_at.FromSeconds(1_700_000_000)
    changes = made.changes
    changes.added_count, changes.removed_count, changes.unchanged_count = 1, 1, 7
    after = dp.FileState(kind=dp.FILE_KIND_FILE, mode=0o644, size=5, digest="sha256:01")
    changes.added.add(path="a.conf", after=after)
    before = dp.FileState(kind=dp.FILE_KIND_SYMLINK, size=6, link_target="a.conf", uid=0, gid=5)
    changes.removed.add(path="link", before=before, drifted=True)
    changes.settings_changed.add(path="a.json", key="x.y", new="1")
    changes.notes.append("n")
    made.steps.add(step="check", name="nginx", message="m", output="o", seconds=0.5, attempts=1)
    made.confirm_within.FromSeconds(90)
    made.confirm_by.FromSeconds(1_700_000_000)
    return made


def test_deployment_has_the_shape_and_order_of_its_record() -> None:
    assert json.dumps(deployment_record(whole())) == json.dumps(WHOLE)


def test_deployment_that_went_well_has_null_where_there_is_nothing() -> None:
    record = deployment_record(dp.ConfigDeployment(deployment_id="d"))
    assert record["error"] is None
    assert record["rollback_info"] is None
    assert "progress" not in record


def test_running_deployment_has_its_progress() -> None:
    made = dp.ConfigDeployment(progress=dp.Progress(step="stage", files_done=1, files_total=3))
    assert deployment_record(made)["progress"] == {"step": "stage", "files_done": 1, "files_total": 3}


def test_mode_keeps_all_its_bits() -> None:
    made = whole()
    made.changes.added[0].after.mode = 0o4755
    assert deployment_record(made)["changes"]["added"][0]["after"]["mode"] == "4755"


def test_environment_has_defaults_where_nothing_is_said() -> None:
    policies = environment_record(ep.Environment(name="canal"))["policies"]
    assert policies == {
        "prune": True,
        "verbatim": [],
        "undefined": "keep",
        "strategy": "in-place",
        "drift": "report",
        "owner": "keep",
        "allow_external_symlinks": False,
        "settle_quiet": None,
        "settle_latest": None,
        "checks": [],
        "reloads": [],
        "health": [],
        "secret_mode": "0600",
        "mode": "source",
    }


def test_environment_has_hold_halt_and_pause_beside_sync() -> None:
    made = ep.Environment(name="canal")
    made.sync.state = ep.SYNC_STATE_OUT_OF_SYNC
    made.sync.hold.deployment_id = "rollback_canal_1"
    made.sync.hold.paths.append("a.conf")
    made.sync.halt.reason = "SOURCE_MISSING"
    made.sync.pause.reason = "holiday"
    made.sync.pause.until.FromSeconds(0)
    record = environment_record(made)
    assert list(record)[:3] == ["schema_version", "name", "type"]
    assert record["hold"] == {"deployment_id": "rollback_canal_1", "since": None, "paths": ["a.conf"]}
    assert record["halt"]["reason"] == "SOURCE_MISSING"
    assert record["pause"]["until"] == "1970-01-01T00:00:00.000000Z"
    assert record["sync"]["state"] == "out_of_sync"


def test_plan_and_status_have_their_parts() -> None:
    plan = dp.PlanDeploymentResponse(environment="canal", blocked=dp.DeploymentError(reason="HALTED"))
    plan.diffs.add(path="a", unified="+x")
    record = plan_record(plan)
    assert record["blocked"]["reason"] == "HALTED"
    assert record["diffs"] == [{"path": "a", "unified": "+x", "note": ""}]
    status = daemon_pb2.GetStatusResponse(version="1", pid=7)
    status.sources.add(path="/src", mode=daemon_pb2.WATCH_MODE_POLLING, environments=["canal"])
    status.problems.add(reason="RECORD_CORRUPT", message="m", hint="h")
    shown = status_record(status)
    assert shown["sources"][0]["mode"] == "polling"
    assert shown["problems"] == [{"reason": "RECORD_CORRUPT", "message": "m", "hint": "h"}]
    json.dumps(shown)
