"""Settings as plain Python, and every fault in them."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.cli import deployments as cli_deployments, env_settings as cli_settings
from headgate.records import environment_record
from headgate.settings import KEYS, POLICY_KEYS, draft
from headgate.v1 import daemon_pb2, deployment_pb2, environment_pb2 as ep
from headgate.words import numbers, word

EVERYTHING = {
    "type": "production",
    "config_path": "/srv/canal",
    "sources": ["/a", "/b"],
    "variables": {"PORT": "80"},
    "secrets": {"KEY": "vault:key"},
    "auto_sync": True,
    "policies": {
        "prune": False,
        "verbatim": ["*.png"],
        "undefined": "error",
        "strategy": "atomic",
        "drift": "heal",
        "owner": "www:www",
        "allow_external_symlinks": True,
        "settle_quiet": 0.5,
        "settle_latest": 3.0,
        "checks": ["nginx"],
        "reloads": ["nginx-reload"],
        "health": ["http"],
        "secret_mode": "0640",
        "mode": "0640",
    },
}


def test_settings_and_record_are_each_others_inverse() -> None:
    made = draft("canal", EVERYTHING)
    assert not made.faults
    record = environment_record(made.message)
    assert {key: record[key] for key in KEYS} == EVERYTHING


def test_every_setting_that_is_given_is_in_the_mask() -> None:
    mask = draft("canal", EVERYTHING).mask
    assert mask == [*(key for key in KEYS if key != "policies"), *(f"policies.{key}" for key in POLICY_KEYS)]


def test_keys_are_the_fields_of_the_protocol() -> None:
    fields = {field.name for field in ep.Environment.DESCRIPTOR.fields}
    assert set(KEYS) == fields - {"name", "created_at", "updated_at", "generation", "sync"}
    assert set(POLICY_KEYS) == {field.name for field in ep.Policies.DESCRIPTOR.fields}


def test_none_is_the_default_and_in_the_mask() -> None:
    made = draft("canal", {"policies": {"owner": None, "settle_quiet": None}, "auto_sync": None})
    assert made.mask == ["policies.owner", "policies.settle_quiet", "auto_sync"]
    assert made.message == ep.Environment(name="canal")
    assert draft("canal", {"policies": None}).mask == [f"policies.{key}" for key in POLICY_KEYS]


@pytest.mark.parametrize(
    ("settings", "field", "why"),
    [
        ({"type": "stagging"}, "type", "development, staging, production, testing (got 'stagging')"),
        ({"type": ""}, "type", "is missing"),
        ({"config_path": 3}, "config_path", "must be text"),
        ({"policies": {"secret_mode": "0999"}}, "policies.secret_mode", "between 0 and 0777"),
        ({"policies": {"secret_mode": 0o1777}}, "policies.secret_mode", "between 0 and 0777"),
        ({"policies": {"secret_mode": True}}, "policies.secret_mode", "between 0 and 0777"),
        ({"sources": "/src"}, "sources", "must be a list"),
        ({"sources": {"a": "b"}}, "sources", "must be a list"),
        ({"sources": ["/a", 3]}, "sources[1]", "must be text"),
        ({"variables": ["A=1"]}, "variables", "must be a table"),
        ({"variables": {"PORT": 8080}}, "variables.PORT", "put it in quotes (got 8080)"),
        ({"variables": {"ON": True}}, "variables.ON", "put it in quotes"),
        ({"variables": {8: "x"}}, "variables.8", "put it in quotes"),
        ({"variables": {"A": "\udcff"}}, "variables", "UTF-8"),
        ({"auto_sync": "yes"}, "auto_sync", "must be true or false"),
        ({"policies": []}, "policies", "must be a table"),
        ({"policies": {"settle_quiet": "1s"}}, "policies.settle_quiet", "number of seconds"),
        ({"policies": {"settle_quiet": True}}, "policies.settle_quiet", "number of seconds"),
        ({"policies": {"settle_quiet": float("nan")}}, "policies.settle_quiet", "number of seconds"),
        ({"policies": {"settle_latest": -1}}, "policies.settle_latest", "not below 0"),
        ({"policies": {"strategy": "in_place"}}, "policies.strategy", "in-place, atomic"),
        ({"policies": {"prun": True}}, "policies.prun", "did you mean prune?"),
        ({"target": "/x"}, "target", "did you mean config_path?"),
        ({"colour": 1}, "colour", "known are type, config_path"),
    ],
)
def test_fault_names_the_field_and_what_it_must_be(settings: Any, field: Any, why: Any) -> None:
    (fault,) = draft("canal", settings).faults
    assert fault.field == field
    assert why in fault.message


def test_all_faults_are_found() -> None:
    wrong = {
        "type": 1,
        "config_path": 1,
        "sources": [1, 2],
        "variables": {"A": 1},
        "auto_sync": 1,
        "policies": {"drift": 1},
    }
    assert len(draft("canal", wrong).faults) == 7


@pytest.mark.parametrize(
    ("choices", "enum"),
    [
        (cli_settings.TYPES, ep.EnvironmentType),
        (cli_settings.UNDEFINED, ep.UndefinedPolicy),
        (cli_settings.STRATEGIES, ep.Strategy),
        (cli_settings.DRIFT, ep.DriftPolicy),
        (cli_deployments.STATUSES, deployment_pb2.DeploymentStatus),
    ],
)
def test_choices_of_the_command_line_are_those_of_the_protocol(choices: Any, enum: Any) -> None:
    assert choices == tuple(numbers(enum))


def test_words_are_those_of_the_records() -> None:
    assert word(ep.Strategy, ep.STRATEGY_IN_PLACE) == "in-place"
    assert word(deployment_pb2.DeploymentTrigger, deployment_pb2.DEPLOYMENT_TRIGGER_AUTO_SYNC) == "auto-sync"
    assert (
        word(deployment_pb2.DeploymentStatus, deployment_pb2.DEPLOYMENT_STATUS_ROLLED_BACK) == "rolled_back"
    )
    assert word(ep.SyncState, ep.SYNC_STATE_OUT_OF_SYNC) == "out_of_sync"
    assert word(daemon_pb2.WatchMode, daemon_pb2.WATCH_MODE_POLLING) == "polling"
    assert word(ep.Strategy, 0) == ""
    assert word(ep.Strategy, 77) == "77"
