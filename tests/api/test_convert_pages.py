from __future__ import annotations

from typing import Any

import pytest
from tests.api.memory import environment

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.pages import environments_page
from headgated.api.convert.values import MESSAGE_LIMIT
from headgated.core.errors import InvalidRequestError
from headgated.engine.views import EnvironmentView, SyncView


def views(*names: str, **fields: object) -> list[EnvironmentView]:
    return [EnvironmentView(environment(name, **fields), SyncView()) for name in names]


def pages(all_views: list[EnvironmentView], size: int) -> list[list[str]]:
    found, token = [], ""
    while True:
        page = environments_page(wire.ListEnvironmentsRequest(page_size=size, page_token=token), all_views)
        found.append([one.name for one in page.environments])
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, [["a", "b", "c", "d"]]),
        (1, [["a"], ["b"], ["c"], ["d"]]),
        (3, [["a", "b", "c"], ["d"]]),
        (4, [["a", "b", "c", "d"]]),
        (5, [["a", "b", "c", "d"]]),
    ],
)
def test_pages_hold_all_once_in_order(size: int, expected: Any) -> None:
    assert pages(views("a", "b", "c", "d"), size) == expected


def test_page_of_nothing_is_empty_and_the_last() -> None:
    assert pages([], 10) == [[]]


def test_next_page_neither_repeats_nor_hides_when_environments_come_and_go() -> None:
    first = environments_page(wire.ListEnvironmentsRequest(page_size=2), views("b", "c", "e"))
    request = wire.ListEnvironmentsRequest(page_size=2, page_token=first.next_page_token)
    second = environments_page(request, views("a", "d", "e"))
    assert [one.name for one in second.environments] == ["d", "e"]


def test_page_is_shorter_where_it_would_be_too_large_to_send() -> None:
    large = views(*(f"e{n:02}" for n in range(20)), variables={f"V{n}": "x" * 60_000 for n in range(17)})
    found = pages(large, 1000)
    assert len(found) > 1
    assert [name for page in found for name in page] == [view.environment.name for view in large]
    first = environments_page(wire.ListEnvironmentsRequest(), large)
    assert first.ByteSize() < MESSAGE_LIMIT


@pytest.mark.parametrize("token", ["x", "eA==", "!!!", "ü", "x" * 2000, "YWZ0ZXI6/w=="])
def test_page_token_that_nobody_gave_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="page_token: is not one that this daemon gave"):
        environments_page(wire.ListEnvironmentsRequest(page_token=token), views("a"))


def test_page_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="at most 1000"):
        environments_page(wire.ListEnvironmentsRequest(page_size=1001), views("a"))
