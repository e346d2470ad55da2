from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headgated.api.convert.checks import Checks
from headgated.core.errors import Fault, InvalidRequestError


def faults_of(checks: Checks) -> dict[str, str]:
    try:
        checks.close("do it")
    except InvalidRequestError as error:
        return {fault.field: fault.message for fault in error.faults}
    return {}


def test_checks_gather_every_fault_before_they_raise() -> None:
    checks = Checks()
    checks.environment_name("name", "NO")
    checks.deployment_id("deployment_id", "../../etc/passwd")
    checks.request_id("x" * 129)
    checks.page_size(1001, default=50, most=1000)
    with pytest.raises(InvalidRequestError, match="cannot do it: name: ") as raised:
        checks.close("do it")
    assert [fault.field for fault in raised.value.faults] == [
        "name",
        "deployment_id",
        "request_id",
        "page_size",
    ]


def test_checks_without_a_fault_raise_nothing() -> None:
    checks = Checks()
    assert checks.environment_name("name", "web") == "web"
    assert checks.deployment_id("id", "deploy_web_1700000000_2") == "deploy_web_1700000000_2"
    assert checks.request_id("x" * 128) == "x" * 128
    assert checks.page_size(0, default=50, most=1000) == 50
    assert checks.page_size(1000, default=50, most=1000) == 1000
    checks.close("do it")


@pytest.mark.parametrize("value", ["", "a/b", "..", "a\0b", "-x", "é", "x" * 201, "a\n"])
def test_checks_refuse_what_is_no_deployment_id(value: str) -> None:
    checks = Checks()
    checks.deployment_id("id", value)
    assert list(faults_of(checks)) == ["id"]


@pytest.mark.parametrize(
    ("seconds", "nanos", "why"),
    [
        (-1, 0, "must not be negative"),
        (0, -1, "must not be negative"),
        (1, -1, "is not a valid duration"),
        (0, 1_000_000_000, "is not a valid duration"),
        (315_576_000_001, 0, "is not a valid duration"),
        (-315_576_000_001, 0, "is not a valid duration"),
    ],
)
def test_checks_refuse_durations_that_are_none(seconds: int, nanos: int, why: str) -> None:
    checks = Checks()
    checks.seconds("settle", Duration(seconds=seconds, nanos=nanos))
    assert faults_of(checks)["settle"].startswith(why)


def test_checks_read_durations_as_seconds() -> None:
    assert Checks().seconds("settle", Duration(seconds=1, nanos=20_000_000)) == pytest.approx(1.02)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 10**9)]
)
def test_checks_refuse_timestamps_that_are_none(seconds: int, nanos: int) -> None:
    checks = Checks()
    checks.moment("until", Timestamp(seconds=seconds, nanos=nanos))
    assert faults_of(checks)["until"].startswith("is not a valid timestamp")


@pytest.mark.parametrize(
    ("seconds", "nanos", "moment"),
    [
        (-62_135_596_800, 0, datetime(1, 1, 1, tzinfo=UTC)),
        (253_402_300_799, 999_999_999, datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        (1, 2000, datetime(1970, 1, 1, 0, 0, 1, 2, tzinfo=UTC)),
    ],
)
def test_checks_read_timestamps_to_their_ends(seconds: int, nanos: int, moment: datetime) -> None:
    checks = Checks()
    assert checks.moment("until", Timestamp(seconds=seconds, nanos=nanos)) == moment
    checks.close("read it")


def test_checks_refuse_enum_values_nobody_knows_and_missing_ones() -> None:
    checks = Checks()
    assert checks.choice("type", 2, {1: "one", 2: "two"}) == "two"
    assert checks.choice("policy", 0, {1: "one"}, "one") == "one"
    checks.choice("unknown", 99, {1: "one"}, "one")
    checks.choice("missing", 0, {1: "one"})
    assert faults_of(checks) == {
        "unknown": "is not a value that this daemon knows (99)",
        "missing": "is missing",
    }


def test_checks_bound_lists_and_mappings() -> None:
    checks = Checks()
    checks.listed("many", ["x"] * 10_001)
    checks.listed("large", ["x" * 1000] * 1100)
    checks.listed("odd", ["fine", "", "a\0b"])
    checks.mapping("vars", {str(n): "x" * 60_000 for n in range(20)})
    assert list(faults_of(checks)) == ["many", "large", "odd[1]", "odd[2]", "vars"]


def test_checks_take_no_finding_twice_and_none_about_what_stands_in_for_a_value() -> None:
    checks = Checks()
    assert not checks
    checks.choice("type", 0, {1: "one"})
    checks.add_found([Fault("type", "does not fit"), Fault("path", "is missing")])
    checks.add_found([Fault("path", "is missing"), Fault("path", "overlaps")])
    assert checks
    with pytest.raises(InvalidRequestError) as raised:
        checks.close("do it")
    assert raised.value.faults == (
        Fault("type", "is missing"),
        Fault("path", "is missing"),
        Fault("path", "overlaps"),
    )
