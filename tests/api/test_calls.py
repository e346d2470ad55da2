from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from headgated.api.calls import CallLimits, Calls
from headgated.core.errors import LimitError, UnavailableError


async def hold(context: Any) -> asyncio.Task[None]:
    """Start a task that stays in `context` until it is cancelled; raises what entering raises."""
    entered = asyncio.get_running_loop().create_future()

    async def stay() -> None:
        try:
            with context:
                entered.set_result(None)
                await asyncio.Event().wait()
        except (LimitError, UnavailableError) as error:
            entered.set_exception(error)

    task = asyncio.create_task(stay())
    await entered
    return task


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_streams_of_one_user_leave_room_for_another() -> None:
    calls = Calls(CallLimits(streams=3, streams_per_user=2))
    tasks = [await hold(calls.stream(1)), await hold(calls.stream(1))]
    with pytest.raises(LimitError) as refused:
        _ = await hold(calls.stream(1))
    assert refused.value.reason == "TOO_MANY_STREAMS"
    tasks.append(await hold(calls.stream(2)))
    with pytest.raises(LimitError):
        _ = await hold(calls.stream(3))
    await end(tasks.pop())
    tasks.append(await hold(calls.stream(3)))
    await end(*tasks)


async def test_streams_leave_room_for_other_calls_and_those_are_bounded_too() -> None:
    calls = Calls(CallLimits(answers=2, streams=1))
    tasks = [await hold(calls.stream(1)), await hold(calls.answer(1)), await hold(calls.answer(1))]
    with pytest.raises(LimitError) as refused:
        _ = await hold(calls.answer(1))
    assert refused.value.reason == "TOO_MANY_CALLS"
    await end(tasks.pop())
    tasks.append(await hold(calls.answer(1)))
    await end(*tasks)


async def test_finish_cuts_streams_short_and_waits_for_changes() -> None:
    calls = Calls()
    stream = await hold(calls.stream(1))
    done = []

    async def change() -> None:
        await asyncio.sleep(0.2)
        done.append(True)

    changing = asyncio.create_task(calls.change(change()))
    await asyncio.sleep(0)
    changing.cancel()
    started = time.monotonic()
    await calls.finish(0.4)
    assert time.monotonic() - started < 2
    assert done == [True]
    assert stream.cancelled()


async def test_finish_gives_up_after_its_grace(caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    stuck = await hold(calls.answer(1))
    started = time.monotonic()
    await calls.finish(0.1)
    assert 0.1 <= time.monotonic() - started < 2
    assert "1 calls have not ended" in caplog.text
    await end(stuck)


async def test_calls_after_the_end_are_refused() -> None:
    calls = Calls()
    await calls.finish(0)
    for late in (calls.answer(1), calls.stream(1)):
        with pytest.raises(UnavailableError) as refused:
            _ = await hold(late)
        assert refused.value.reason == "STOPPING"


async def test_change_gives_its_result_or_its_error() -> None:
    calls = Calls()

    async def works() -> int:
        return 5

    async def fails() -> int:
        raise ValueError("no")

    assert await calls.change(works()) == 5
    with pytest.raises(ValueError, match="no"):
        await calls.change(fails())


async def test_calls_of_one_user_leave_room_for_those_of_another() -> None:
    calls = Calls(CallLimits(answers=4, answers_per_user=2))
    tasks = [await hold(calls.answer(1)), await hold(calls.answer(1))]
    with pytest.raises(LimitError):
        _ = await hold(calls.answer(1))
    tasks.append(await hold(calls.answer("dns:ci.example.org")))
    calls.limit(CallLimits(answers=4, answers_per_user=3))
    tasks.append(await hold(calls.answer(1)))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert not calls._askers
