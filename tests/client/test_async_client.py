"""The asyncio client. What it does is tested with the other one's tests (see conftest); here is what only it has."""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
from typing import Any

import pytest
from tests.client.conftest import until
from tests.client.fake_daemon import FakeDaemon

from headgate import AsyncClient, Client
from headgate.errors import HeadgateError

ASYNC_WORDS = {"AsyncIterator": "Iterator", "AsyncGenerator": "Generator"}


def methods(kind: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


class _Synchronous(ast.NodeTransformer):
    """Takes what makes an annotation asynchronous away from it."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(ASYNC_WORDS.get(node.id, node.id))

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "AsyncGenerator":
            item, sent = node.slice.elts  # type: ignore[attr-defined] # a tuple
            return ast.parse(f"Generator[{ast.unparse(item)}, {ast.unparse(sent)}, None]", mode="eval").body
        return self.generic_visit(node)


def said(method: Any) -> tuple[Any, ...]:
    signature = inspect.signature(method)
    returned = ast.unparse(_Synchronous().visit(ast.parse(signature.return_annotation, mode="eval").body))
    return tuple(map(str, signature.parameters.values())), returned, inspect.getdoc(method)


def test_both_clients_have_the_same_methods() -> None:
    """So that neither is forgotten when the other grows."""
    there, here = methods(Client), methods(AsyncClient)
    assert list(there) == list(here)
    assert {name: said(method) for name, method in there.items()} == {
        name: said(method) for name, method in here.items()
    }
    assert inspect.signature(Client.__init__) == inspect.signature(AsyncClient.__init__)


def test_every_method_is_to_be_awaited_or_iterated() -> None:
    for name, method in methods(AsyncClient).items():
        assert inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method), name


async def test_calls_run_side_by_side(daemon: FakeDaemon) -> None:
    async with AsyncClient(str(daemon.socket)) as client:
        asked = await asyncio.gather(*(client.deploy("canal") for _ in range(20)))
        assert len({each.deployment_id for each in asked}) == 20


async def test_cancelled_task_ends_its_call_and_its_watch(daemon: FakeDaemon) -> None:
    daemon.hanging.add("GetStatus")
    async with AsyncClient(str(daemon.socket)) as client:

        async def watching() -> None:
            async for _ in client.watch_deployments():
                pass

        tasks = [asyncio.create_task(watching()), asyncio.create_task(client.status())]
        await asyncio.to_thread(until, lambda: daemon.watchers == 1 and len(daemon.requests) == 2)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError] * 2
        await asyncio.to_thread(until, lambda: daemon.watchers == 0)


async def test_watch_that_is_left_is_ended_at_the_daemon(daemon: FakeDaemon) -> None:
    async with AsyncClient(str(daemon.socket)) as client:
        events = client.watch_deployments()
        await anext(events)
        assert daemon.watchers == 1
        await events.aclose()
        await asyncio.to_thread(until, lambda: daemon.watchers == 0)


def test_one_may_be_made_where_no_loop_runs(daemon: FakeDaemon) -> None:
    client = AsyncClient(str(daemon.socket))

    async def look() -> bool:
        async with client:
            return await client.health()

    assert asyncio.run(look())


async def test_waiting_for_a_daemon_that_does_not_answer_leaves_the_loop_alone(tmp_path: Any) -> None:
    async with AsyncClient(str(tmp_path / "none")) as client:
        with pytest.raises(HeadgateError, match="there is no such socket"):
            await client.status()


def test_clients_bring_neither_the_daemon_nor_the_watchdog() -> None:
    code = (
        "import sys, headgate; headgate.Client; headgate.AsyncClient; import headgate.testing; "
        "print([m for m in sys.modules if m.split('.')[0] in ('headgated', 'watchdog', 'msgspec', 'click')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
