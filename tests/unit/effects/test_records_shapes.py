"""What records look like, and that nothing is lost in writing and reading them."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from tests.unit.effects.recorded import AT, DEPLOYMENTS, ENVIRONMENTS, deployment, environment

from headgated.core.deployment import (
    Changes,
    ConfigDeployment,
    DeploymentError,
    DeploymentKind,
    DeploymentStatus,
    FileChange,
    Progress,
    Trigger,
)
from headgated.core.environment import Environment, EnvironmentType, Hold, Policies
from headgated.core.errors import RecordError
from headgated.core.tree import Entry, Kind
from headgated.effects.records import (
    decode_deployment,
    decode_environment,
    encode_deployment,
    encode_environment,
)

ROOT = Path(__file__).parents[3]
DOCUMENTED = [
    json.loads(text)
    for text in re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "records.md").read_text(), re.DOTALL)
]


@settings(max_examples=50, deadline=None)
@given(DEPLOYMENTS)
def test_deployment_comes_back_as_it_went_in(record: ConfigDeployment) -> None:
    assert decode_deployment(encode_deployment(record)) == record


@settings(max_examples=50, deadline=None)
@given(ENVIRONMENTS)
def test_environment_comes_back_as_it_went_in(record: Environment) -> None:
    assert decode_environment(encode_environment(record)) == record


@pytest.mark.parametrize(
    ("documented", "decode", "encode"),
    [
        (DOCUMENTED[0], decode_environment, encode_environment),
        (DOCUMENTED[1], decode_deployment, encode_deployment),
    ],
    ids=["environment", "deployment"],
)
def test_documentation_shows_what_is_written(documented: Any, decode: Any, encode: Any) -> None:
    written = json.loads(encode(decode(json.dumps(documented).encode())))
    assert written == documented
    assert shape(written) == shape(documented)


def shape(value: Any) -> Any:
    """Keys in their order, at every depth."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    return [shape(inner) for inner in value] if isinstance(value, list) else None


def test_every_field_of_the_model_is_documented() -> None:
    """A field that the model gets and records do not would be forgotten at the next start."""
    environment_keys = [field.name for field in fields(Environment)]
    assert sorted(DOCUMENTED[0]) == sorted([*environment_keys, "schema_version"])
    assert sorted(DOCUMENTED[0]["policies"]) == sorted(field.name for field in fields(Policies))
    deployment_keys = [field.name for field in fields(ConfigDeployment) if field.name != "progress"]
    assert sorted(DOCUMENTED[1]) == sorted([*deployment_keys, "schema_version"])
    assert sorted(DOCUMENTED[1]["changes"]) == sorted(field.name for field in fields(Changes))
    assert sorted(DOCUMENTED[1]["error"]) == sorted(field.name for field in fields(DeploymentError))
    for key in (*DOCUMENTED[0], *DOCUMENTED[1]):
        assert f"`{key}`" in (ROOT / "docs" / "records.md").read_text()


@pytest.mark.parametrize("words", [DeploymentKind, DeploymentStatus, Trigger, EnvironmentType])
def test_every_word_that_a_record_may_hold_is_documented(words: type[StrEnum]) -> None:
    text = (ROOT / "docs" / "records.md").read_text()
    assert [word.value for word in words if f"`{word.value}`" not in text] == []


def test_record_is_indented_text_that_ends_its_last_line() -> None:
    text = encode_deployment(replace(deployment(), reason="naïve")).decode()
    assert text.startswith('{\n  "schema_version": 1,\n  "deployment_id": "deploy_prod_1",\n')
    assert text.endswith("\n}\n")
    assert "naïve" in text


def test_times_are_utc_with_microseconds() -> None:
    here = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    text = encode_deployment(deployment(deployed_at=here))
    assert json.loads(text)["deployed_at"] == "2026-01-02T01:04:05.000000Z"
    assert decode_deployment(text).deployed_at == here
    assert decode_deployment(text).deployed_at.tzinfo == UTC


def test_file_states_are_text_that_people_know() -> None:
    file = Entry(Kind.FILE, 0o4755, bytes(range(32)), 7, uid=1, gid=2)
    link = Entry(Kind.SYMLINK, target=b"a\xff\n\\b")
    record = replace(deployment(), changes=Changes(modified=(FileChange("a", file, link),), modified_count=1))
    (change,) = json.loads(encode_deployment(record))["changes"]["modified"]
    assert change["before"]["mode"] == "4755"
    assert change["before"]["digest"] == f"sha256:{bytes(range(32)).hex()}"
    assert (change["after"]["kind"], change["after"]["link_target"]) == ("symlink", r"a\xff\x0a\\b")


def test_progress_is_not_recorded() -> None:
    record = replace(deployment(), progress=Progress("stage", 1, 2))
    assert decode_deployment(encode_deployment(record)) == deployment()


def test_text_that_is_no_text_is_escaped_not_refused() -> None:
    """A file name that is not UTF-8 in an error message of the system (S13)."""
    error = DeploymentError("OS_ERROR", "cannot open caf\udce9: \ud800", paths=("\udcff",))
    read = decode_deployment(encode_deployment(replace(deployment(), error=error)))
    assert read.error is not None
    assert read.error.message == "cannot open caf\\xe9: \ufffd"
    assert read.error.paths == ("\\xff",)


def test_directories_that_are_not_text_come_back_as_they_are() -> None:
    record = replace(environment(), config_path="/etc/caf\udce9\n\\x", sources=("/srv/\udcff",))
    text = encode_environment(record)
    assert json.loads(text)["config_path"] == r"/etc/caf\xe9\x0a\\x"
    assert decode_environment(text) == record


def test_hold_names_its_paths() -> None:
    record = replace(environment(), hold=Hold("rollback_prod_1", AT, {"b": "absent", "a": "directory"}))
    assert json.loads(encode_environment(record))["hold"]["paths"] == ["a", "b"]


@pytest.mark.parametrize("decode", [decode_deployment, decode_environment])
def test_newer_schema_is_told_apart_from_damage(decode: Any) -> None:
    with pytest.raises(RecordError) as caught:
        decode(b'{"schema_version": 2, "everything": {"else": "differs"}}')
    assert caught.value.reason == "RECORD_NEWER"
    assert "version 2" in caught.value.message
    assert caught.value.hint


def test_keys_that_are_not_known_are_passed_over() -> None:
    raw = json.loads(encode_deployment(deployment()))
    assert decode_deployment(json.dumps({**raw, "later": {"x": [1]}}).encode()) == deployment()


DAMAGED: dict[str, Any] = {
    "deployed_at": "yesterday",
    "started_at": "2026-11-22T19:20:00",  # says no zone
    "status": "SUCCESS",
    "sequence": "1",
    "kind": None,
    "changes": [],
    "schema_version": "1",
    "deployment_id": 7,
}


@pytest.mark.parametrize("key", DAMAGED)
def test_record_with_a_value_that_cannot_be_is_damaged(key: str) -> None:
    raw = json.loads(encode_deployment(deployment()))
    with pytest.raises(RecordError) as caught:
        decode_deployment(json.dumps({**raw, key: DAMAGED[key]}).encode())
    assert caught.value.reason == "RECORD_CORRUPT"


@pytest.mark.parametrize(
    ("key", "value"), [("kind", "socket"), ("digest", "sha256:00"), ("digest", "x"), ("mode", "9")]
)
def test_file_state_that_cannot_be_is_damaged(key: str, value: str) -> None:
    file = Entry(Kind.FILE, 0o644, bytes(32), 7)
    raw = json.loads(
        encode_deployment(replace(deployment(), changes=Changes(added=(FileChange("a", None, file),))))
    )
    raw["changes"]["added"][0]["after"][key] = value
    with pytest.raises(RecordError):
        decode_deployment(json.dumps(raw).encode())


def test_every_cut_record_is_damaged() -> None:
    for record in (encode_deployment(deployment()), encode_environment(environment())):
        decode = decode_deployment if b"deployment_id" in record else decode_environment
        for length in range(len(record) - 2):
            with pytest.raises(RecordError):
                decode(record[:length])
