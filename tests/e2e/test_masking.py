"""What looks like a secret by its name is shown nowhere, and which names do is for root to say."""

from __future__ import annotations

import json

from tests.e2e.harness import SUCCESS, Daemon, running

CANARY = "canary-5b1f"
MASKING = '[masking]\nhide = ["*_pin"]\nshow = ["token_bucket"]\n'
CONFIG = f"""{MASKING}
[commands.tell]
argv = ["sh", "-c", "grep -h pin {{staged}}/app.yaml"]
"""


def write(daemon: Daemon, number: int) -> None:
    source = daemon.home / "source"
    source.mkdir(exist_ok=True)
    (source / "app.yaml").write_text(f"door_pin: {CANARY}{number}\ntoken_bucket: {number}\n")
    (source / "app.xml").write_text(f"<app><door_pin>{CANARY}{number}</door_pin></app>\n")


def test_names_that_root_adds_are_hidden_in_plans_records_output_and_streams() -> None:
    with running(CONFIG) as daemon, daemon.client() as client:
        write(daemon, 1)
        client.create_environment(
            "web",
            type="staging",
            config_path=str(daemon.home / "target"),
            sources=[str(daemon.home / "source")],
            auto_sync=False,
            policies={"checks": ("tell",)},
        )
        assert client.wait_for_deployment(client.deploy("web").deployment_id).status == SUCCESS
        write(daemon, 2)
        plan = daemon.cli("plan", "web").stdout
        done = client.wait_for_deployment(client.deploy("web").deployment_id)
        shown = daemon.cli("show", done.deployment_id).stdout
        as_json = daemon.cli("show", done.deployment_id, "-o", "json").stdout
        told = [plan, shown, as_json, daemon.log(), str(next(iter(client.watch_deployments())))]
        told += [path.read_text() for path in daemon.state.rglob("*.json")]
        assert [text for text in told if CANARY in text] == []
        assert "door_pin: ***" in plan
        assert "door_pin: ***" in done.steps[0].output
        assert "-token_bucket: 1\n" in plan
        assert "+token_bucket: 2\n" in plan
        settings = json.loads(as_json)["changes"]["settings_changed"]
        assert [(one["key"], one["new"]) for one in settings] == [
            ("app.door_pin", '"***"'),
            ("door_pin", '"***"'),
            ("token_bucket", "2"),
        ]
        daemon.config.write_text(CONFIG.replace(MASKING, "[masking]\nhide = ['*bucket']\n"))
        daemon.cli("reload")
        write(daemon, 3)
        assert "token_bucket: ***" in daemon.cli("plan", "web").stdout
