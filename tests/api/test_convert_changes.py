from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from tests.api.memory import LATER

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.changes import every_fault, read_draft, read_pause, read_update
from headgated.api.convert.checks import Checks
from headgated.core.errors import (
    AlreadyExistsError,
    Fault,
    HeadgateError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)


def faults_of(read: Any, request: Any) -> dict[str, str]:
    checks = Checks()
    read(checks, request)
    return closed(checks.close, "do it")


def closed(close: Any, *asked: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as refused:
        close(*asked)
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


def told_with(error: HeadgateError | None, *read: tuple[str, str]) -> HeadgateError:
    """What a client is told where reading found this and the engine raised that."""
    checks = Checks()
    for field, why in read:
        checks.add(field, why)
    with pytest.raises(HeadgateError) as told, every_fault(checks, "do it"):
        engine(error)
    return told.value


def engine(error: HeadgateError | None) -> None:
    if error is not None:
        raise error


TYPE = ("environment.type", "is missing")
TARGET = Fault("config_path", "overlaps")


@pytest.mark.parametrize(
    ("error", "besides"),
    [
        (None, []),
        (InvalidRequestError("x", [TARGET]), [("environment.config_path", "overlaps")]),
        (InvalidRequestError("x", [Fault("type", "of what stands in")]), []),
        (NotFoundError("none"), [("environment.name", "there is no such environment")]),
        (
            AlreadyExistsError("one", faults=[TARGET]),
            [
                ("environment.name", "is taken: there is an environment of that name"),
                ("environment.config_path", "overlaps"),
            ],
        ),
        (UnavailableError("not now"), []),
    ],
)
def test_what_reading_found_and_what_the_engine_finds_is_told_at_once(error: Any, besides: Any) -> None:
    told = told_with(error, TYPE)
    assert isinstance(told, InvalidRequestError)
    assert [(fault.field, fault.message) for fault in told.faults] == [TYPE, *besides]


def test_where_reading_finds_nothing_the_error_of_the_engine_is_told_in_the_words_of_the_request() -> None:
    taken = AlreadyExistsError("one", faults=[TARGET])
    assert told_with(taken) is taken
    assert taken.faults == (Fault("environment.config_path", "overlaps"),)
    assert told_with(UnavailableError("not now")).faults == ()


def test_span_that_cannot_be_read_is_compared_with_nothing() -> None:
    policies = wire.Policies(settle_quiet=Duration(seconds=1), settle_latest=Duration(seconds=-1))
    request = wire.UpdateEnvironmentRequest(
        environment=wire.Environment(name="web", policies=policies), update_mask=FieldMask(paths=["policies"])
    )
    assert set(faults_of(read_update, request)) == {"environment.policies.settle_latest"}


def test_update_tells_what_it_expects_only_where_it_was_said() -> None:
    request = wire.UpdateEnvironmentRequest(
        environment=wire.Environment(name="web"), update_mask=FieldMask(paths=["variables"])
    )
    assert read_update(Checks(), request).expected_generation is None
    request.expected_generation = 0
    assert read_update(Checks(), request).expected_generation == 0


def test_pause_reads_its_end_only_where_one_was_said() -> None:
    request = wire.PauseEnvironmentRequest(name="web", reason="why")
    assert read_pause(request).until is None
    request.until.FromDatetime(LATER)
    assert read_pause(request).until == LATER


def test_pause_is_refused_with_every_fault_at_once() -> None:
    request = wire.PauseEnvironmentRequest(
        reason="x" * 1001, until=Timestamp(seconds=2**60), request_id="x" * 129
    )
    assert set(closed(read_pause, request)) == {"name", "reason", "until", "request_id"}
