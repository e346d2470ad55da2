"""`headgate env apply`: files, all faults at once, and nothing changed by half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon, Refusal

from headgate.v1 import environment_pb2 as ep

TOML = """
name = "canal"
type = "staging"
config_path = "/srv/canal"
sources = ["/src"]
[variables]
PORT = "80"
[policies]
settle_quiet = 0.5
"""
YAML = """
environments:
  canal:
    type: staging
    config_path: /srv/canal
    sources: [/src]
    variables: {PORT: "80"}
    policies: {settle_quiet: 0.5}
"""
JSON = json.dumps(
    {
        "environments": [
            {
                "name": "canal",
                "type": "staging",
                "config_path": "/srv/canal",
                "sources": ["/src"],
                "variables": {"PORT": "80"},
                "policies": {"settle_quiet": 0.5},
            }
        ]
    }
)


@pytest.mark.parametrize(
    ("name", "text"), [("e.toml", TOML), ("e.yaml", YAML), ("e.yml", YAML), ("e.json", JSON)]
)
def test_file_of_each_format_creates_then_changes_nothing(
    run: Run, daemon: FakeDaemon, tmp_path: Path, name: Any, text: Any
) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert run("env", "apply", "-f", str(file)).out == "canal: created\n"
    made = daemon.environments["canal"]
    assert made.type == ep.ENVIRONMENT_TYPE_STAGING
    assert made.policies.settle_quiet.ToMilliseconds() == 500
    assert run("env", "apply", "-f", str(file)).out == "canal: unchanged\n"
    assert daemon.environments["canal"] == made


def test_standard_input_needs_a_format(run: Run, daemon: FakeDaemon) -> None:
    assert "--format is needed" in run("env", "apply", "-f", "-", text=TOML, code=2).err
    assert run("env", "apply", "-f", "-", "--format", "toml", text=TOML).out == "canal: created\n"


def test_update_says_what_changed_and_sends_only_that(run: Run, daemon: FakeDaemon) -> None:
    run("env", "apply", "-f", "-", "--format", "toml", text=TOML)
    changed = TOML.replace('PORT = "80"', 'PORT = "81"\nNEW = "x"').replace("0.5", "0.75")
    ran = run("env", "apply", "-f", "-", "--format", "toml", text=changed)
    assert ran.out == "canal: updated (variables.NEW, variables.PORT, policies.settle_quiet)\n"
    assert sorted(daemon.requests[-1].update_mask.paths) == ["policies.settle_quiet", "variables"]
    assert dict(daemon.environments["canal"].variables) == {"PORT": "81", "NEW": "x"}


def test_what_the_file_does_not_say_goes_back_to_its_default(
    run: Run, daemon: FakeDaemon, canal: Any
) -> None:
    canal.policies.prune = False
    canal.auto_sync = False
    ran = run(
        *("env", "apply", "-f", "-", "--format", "toml"),
        text='name = "canal"\ntype = "staging"\nconfig_path = "/srv/canal"\nsources = ["/src"]\n',
    )
    assert ran.out == "canal: updated (variables.PORT, auto_sync, policies.prune)\n"
    changed = daemon.environments["canal"]
    assert not changed.variables
    assert changed.auto_sync is True


def test_production_does_not_sync_by_itself_unless_the_file_says_so(run: Run, daemon: FakeDaemon) -> None:
    run("env", "apply", "-f", "-", "--format", "toml", text=TOML.replace("staging", "production"))
    assert daemon.environments["canal"].auto_sync is False


def test_others_are_left_alone(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    run("env", "apply", "-f", "-", "--format", "toml", text=TOML.replace("canal", "dike"))
    assert daemon.environments["canal"] is canal


def test_what_show_prints_can_be_applied(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    shown = run("env", "list", "-o", "json").out
    assert run("env", "apply", "-f", "-", "--format", "json", text=shown).out == "canal: unchanged\n"


def test_path_that_means_the_same_is_no_change(run: Run, canal: Any) -> None:
    text = TOML.replace("/srv/canal", "/srv//canal/").replace("settle_quiet = 0.5", "")
    assert run("env", "apply", "-f", "-", "--format", "toml", text=text).out == "canal: unchanged\n"


def test_every_fault_of_every_environment_is_told_and_nothing_is_changed(
    run: Run, daemon: FakeDaemon, canal: Any
) -> None:
    text = """
    environments:
      fine: {type: staging, config_path: /srv/fine, sources: [/s]}
      one: {type: stagging, target: /srv/one, variables: {PORT: 8080}}
      two: {name: "", type: stagging, config_path: srv/two}
      six: {name: seven, type: stagging, config_path: /srv/canal}
      TWO: {type: staging, config_path: srv/two, sources: [/s]}
      three: {type: staging, config_path: /srv/canal, sources: [/s]}
      four: [1]
      five: {type: staging, config_path: /srv/fine/below, sources: [/s]}
      canal: {type: staging, config_path: rel, sources: [/s]}
    """
    ran = run("env", "apply", "-f", "-", "--format", "yaml", text=text, code=2)
    lines = ran.err.splitlines()
    assert lines[0] == "headgate: cannot apply standard input: 17 things are wrong"
    assert lines[-1] == "  try: nothing was changed; put it right and apply it again"
    told = "\n".join(lines)
    for field in (
        "environments.one.type: must be one of",
        "environments.one.target: is not known; did you mean config_path?",
        "environments.one.variables.PORT: must be text",
        "environments.one.config_path: must be an absolute path",
        "environments.two.name: is missing",
        "environments.two.type: must be one of",
        "environments.two.config_path: must be an absolute path",
        "environments.six.name: is not the name it stands under (six)",
        "environments.six.type: must be one of",
        "environments.six: its target is that of canal",
        "environments.three.config_path: overlaps the target of seven",
        "environments.TWO.name: must be lower-case",
        "environments.TWO.config_path: must be an absolute path",
        "environments.three: cannot create environment three: its target is that of canal",
        "environments.four: must be a table",
        "environments.five.config_path: overlaps the target of fine",
        "environments.canal.config_path: must be an absolute path",
    ):
        assert f"  {field}" in told
    assert list(daemon.environments) == ["canal"]
    assert daemon.environments["canal"] is canal


def test_directories_of_one_file_that_are_in_each_others_way_are_told_before_anything_is_created(
    run: Run, daemon: FakeDaemon
) -> None:
    text = """
    environments:
      one: {type: staging, config_path: /srv/one, sources: [/s]}
      two: {type: staging, config_path: /s/below, sources: [/s2, /srv/one/below]}
      odd: {type: staging, config_path: [/s], sources: /srv/one}
    """
    ran = run("env", "apply", "-f", "-", "--format", "yaml", text=text, code=2)
    told = [line for line in ran.err.splitlines() if "overlaps" in line]
    assert told == [
        "  environments.two.config_path: overlaps a source of one (/s)",
        "  environments.two.sources: overlaps the target of one (/srv/one)",
    ]
    assert not daemon.environments


def test_refusals_alone_are_refused(run: Run, canal: Any) -> None:
    ran = run("env", "apply", "-f", "-", "--format", "toml", text=TOML.replace('"canal"', '"dike"'), code=4)
    assert "nothing was changed" in ran.err
    assert "its target is that of canal" in ran.err


@pytest.mark.parametrize(
    ("form", "text", "why"),
    [
        ("toml", "name = ", "toml: "),
        ("yaml", "a: [", "yaml: "),
        ("yaml", "name: a\nname: b\n", "'name' is there twice (line 2)"),
        ("json", "{", "json: "),
        ("json", '{"name": "a", "name": "b"}', "'name' is there twice"),
        ("json", "[" * 100_000, "json: "),
        ("yaml", "[]", "file: must be a table"),
        ("yaml", "", "file: must be a table"),
        ("yaml", "environments: 3", "environments: must be a list"),
        ("yaml", "environments: []\nother: 1", "other: is not known"),
        ("yaml", "type: staging", "name: is missing"),
        ("yaml", "name: 3", "name: must be text"),
        ("yaml", "environments: {a: {name: b}}", "environments.a.name: is not the name it stands under"),
        ("yaml", "environments: [{name: a, type: testing}, {name: a, type: testing}]", "a: is there 2 times"),
    ],
)
def test_file_that_cannot_be_read_says_where(
    run: Run, daemon: FakeDaemon, form: Any, text: Any, why: Any
) -> None:
    ran = run("env", "apply", "-f", "-", "--format", form, text=text, code=2)
    assert why in ran.err
    assert not daemon.environments


def test_file_that_is_not_there_is_said(run: Run) -> None:
    ran = run("env", "apply", "-f", "/nowhere.toml", code=2)
    assert ran.err == "headgate: cannot apply /nowhere.toml: No such file or directory\n"


def test_dry_run_tells_and_changes_nothing(run: Run, daemon: FakeDaemon) -> None:
    ran = run("env", "apply", "-f", "-", "--format", "toml", "--dry-run", text=TOML)
    assert ran.out == "canal: would be created\n"
    assert not daemon.environments


def test_json_tells_each_result(run: Run, daemon: FakeDaemon) -> None:
    ran = run("env", "apply", "-f", "-", "--format", "toml", "-o", "json", text=TOML)
    assert ran.json == {"environments": [{"name": "canal", "result": "created", "changed": []}]}


def test_update_is_refused_where_somebody_else_was_faster(run: Run, daemon: FakeDaemon, canal: Any) -> None:
    text = TOML.replace("80", "81")
    daemon.failures["UpdateEnvironment"].extend(
        [None, Refusal(grpc.StatusCode.ABORTED, "cannot update canal: it is another by now", "GENERATION")]
    )
    ran = run("env", "apply", "-f", "-", "--format", "toml", text=text, code=4)
    assert ran.err == "headgate: cannot update canal: it is another by now\n"
    assert daemon.requests[-1].expected_generation == 4
