from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from tests.api.memory import LATER

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.changes import read_draft, read_pause, read_update
from headgated.core.errors import InvalidRequestError


def faults_of(read: Any, request: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as refused:
        read(request)
    return {fault.field: fault.message for fault in refused.value.faults}


def test_create_is_refused_with_every_fault_at_once() -> None:
    request = wire.CreateEnvironmentRequest(
        request_id="x" * 129,
        environment=wire.Environment(
            name="No Good",
            type=55,  # type: ignore[arg-type] # nobody knows it
            config_path="relative",
            sources=["/ok", "also/relative"],
            variables={"1BAD": "x", "GOOD": "nul\0", "BOTH": ""},
            secrets={"BOTH": "file:x"},
            policies=wire.Policies(
                strategy=9,  # type: ignore[arg-type] # nobody knows it
                owner="a b c",
                settle_quiet=Duration(seconds=-1),
                settle_latest=Duration(seconds=5000),
                checks=[""],
            ),
        ),
    )
    assert set(faults_of(read_draft, request)) == {
        "request_id",
        "environment.name",
        "environment.type",
        "environment.config_path",
        "environment.sources[1]",
        "environment.variables.1BAD",
        "environment.variables.GOOD",
        "environment.secrets.BOTH",
        "environment.policies.strategy",
        "environment.policies.owner",
        "environment.policies.settle_quiet",
        "environment.policies.settle_latest",
        "environment.policies.checks[0]",
    }


def test_create_of_nothing_says_what_is_missing() -> None:
    assert faults_of(read_draft, wire.CreateEnvironmentRequest()) == {
        "environment.type": "is missing",
        "environment.name": "is missing",
        "environment.config_path": "is missing",
    }


def test_update_is_refused_with_every_fault_at_once() -> None:
    request = wire.UpdateEnvironmentRequest(
        request_id="x" * 129,
        environment=wire.Environment(name="web", config_path="relative", variables={"1": "x"}),
        update_mask=FieldMask(paths=["config_path", "variables", "nonsense"]),
    )
    assert set(faults_of(read_update, request)) == {
        "request_id",
        "update_mask.paths[2]",
        "environment.config_path",
        "environment.variables.1",
    }


def test_update_without_a_mask_or_a_name_is_refused() -> None:
    assert set(faults_of(read_update, wire.UpdateEnvironmentRequest())) == {"update_mask", "environment.name"}


def test_update_tells_what_it_expects_only_where_it_was_said() -> None:
    request = wire.UpdateEnvironmentRequest(
        environment=wire.Environment(name="web"), update_mask=FieldMask(paths=["variables"])
    )
    assert read_update(request).expected_generation is None
    request.expected_generation = 0
    assert read_update(request).expected_generation == 0


def test_pause_reads_its_end_only_where_one_was_said() -> None:
    request = wire.PauseEnvironmentRequest(name="web", reason="why")
    assert read_pause(request).until is None
    request.until.FromDatetime(LATER)
    assert read_pause(request).until == LATER


def test_pause_is_refused_with_every_fault_at_once() -> None:
    request = wire.PauseEnvironmentRequest(
        reason="x" * 1001, until=Timestamp(seconds=2**60), request_id="x" * 129
    )
    assert set(faults_of(read_pause, request)) == {"name", "reason", "until", "request_id"}
