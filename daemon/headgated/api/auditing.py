"""Writes down who asked for what, before it is done, and what came of it.

A call that may change something is on disk before it begins ("asked"), or it does not begin; what came of it follows ("answered", with the
number of the first). An order begins beside its line, and waits for it itself before anything comes of it (`audited`). Calls that are refused for
want of a role are one line ("refused"), reads too; of somebody who is refused all the time only some are written, with how many were not: by the
next refusal that is written, or seconds later by a line of its own, at the latest when the daemon stops. No value of a variable is ever written, nor
any text of a request besides those named below.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message

from headgated.api.errors import code_of
from headgated.api.methods import environment_of
from headgated.core.errors import HeadgateError, UnavailableError
from headgated.core.orders import Caller
from headgated.effects.audit_log import AuditLog
from headgated.engine.pool import Task
from headgated.engine.views import Problem

T = TypeVar("T")

_log = logging.getLogger("headgated.audit")
_line: ContextVar[Future[int]] = ContextVar("the line of the audit log on the call that is answered")
_WORDS = ("reason", "on_behalf_of", "request_id")
_WORD = 1000
_MESSAGE = 500
_BURST, _PER_SECOND, _USERS, _PENDING = 20.0, 0.2, 1000, 200
_A_LITTLE = 0.1
"""Seconds after which, at the earliest, is looked whether a line may be written: so that no rounding makes it once more in vain."""


def audited() -> Callable[[], object]:
    """Return what waits, in a thread, until the line on the call that is being answered is on disk; it raises UnavailableError where that cannot be.

    Raises:
        LookupError: there is no such line.
    """
    return _line.get().result


class Auditor:
    """Lives on one asyncio loop.

    Args:
        log: where to write.
        problems: where to say, and take back, that it cannot be written.
        pace: refusals of one user that are written each second, where he is refused all the time.
    """

    def __init__(
        self, log: AuditLog, problems: list[Problem] | None = None, *, pace: float = _PER_SECOND
    ) -> None:
        self._log, self._problems = log, problems if problems is not None else []
        self._pace = pace
        self._told: Problem | None = None
        self._patience: dict[str, _Patience] = {}
        self._pending: set[asyncio.Task[None]] = set()

    async def carry_out(
        self, caller: Caller, method: str, request: object, work: Awaitable[T], *, beside: bool = False
    ) -> T:
        """Do `work` between two lines of the log.

        Args:
            caller: who asks.
            method: for what.
            request: with what.
            work: what is done then.
            beside: `work` waits for the first line itself (`audited`).

        Raises:
            UnavailableError: AUDIT_NOT_WRITABLE, nothing was begun.
        """
        line = self._begin_line({"phase": "asked", **_call(caller, method, request)}, sync=True)
        try:
            if not beside:
                await self._end_line(line)
        except BaseException:
            if asyncio.iscoroutine(work):
                work.close()
            raise
        _line.set(line)
        try:
            answer = await work
        except BaseException as error:
            await self._answered(await self._end_line(line), _failure(error))
            raise
        await self._answered(await self._end_line(line), _success(answer))
        return answer

    def refused(self, caller: Caller, method: str, request: object, error: HeadgateError) -> None:
        """Note that a call was refused; does not wait."""
        patience = self._patience_with(caller)
        if len(self._pending) >= _PENDING or not patience.allows():
            self._omit(patience)
            return
        entry = {"phase": "refused", **_call(caller, method, request), "outcome": _failure(error)}
        if patience.omitted:
            entry["omitted"], patience.omitted = patience.omitted, 0
        self._begin(entry)

    async def finish(self) -> None:
        """Write what was left out so far, and wait until everything is written."""
        for patience in self._patience.values():
            self._own_up(patience)
        if self._pending:
            await asyncio.wait(tuple(self._pending))

    def _patience_with(self, caller: Caller) -> _Patience:
        """Return the patience with a user. Of too many users who was not refused for longest is forgotten."""
        patience = self._patience.pop(caller.user, None) or _Patience(caller, self._pace)
        self._patience[caller.user] = patience
        if len(self._patience) > _USERS:
            self._own_up(self._patience.pop(next(iter(self._patience))))
        return patience

    def _omit(self, patience: _Patience) -> None:
        """Count a refusal, to be told with the next one or, where none follows, as soon as one may be written again."""
        patience.omitted += 1
        self._own_up_later(patience)

    def _own_up_later(self, patience: _Patience) -> None:
        if patience.timer is None:
            loop = asyncio.get_running_loop()
            patience.timer = loop.call_later(patience.wait(), self._own_up_in_time, patience)

    def _own_up_in_time(self, patience: _Patience) -> None:
        patience.timer = None
        if patience.omitted and (len(self._pending) >= _PENDING or not patience.allows()):
            self._own_up_later(patience)
        else:
            self._own_up(patience)

    def _own_up(self, patience: _Patience) -> None:
        """Write how many refusals of a user were left out, if any were."""
        if patience.timer is not None:
            patience.timer.cancel()
            patience.timer = None
        if patience.omitted:
            entry = {"phase": "refused", **_who(patience.caller), "omitted": patience.omitted}
            patience.omitted = 0
            self._begin(entry)

    def _begin(self, entry: dict[str, Any]) -> None:
        """Write an entry beside whatever goes on."""
        task = asyncio.create_task(self._note(entry))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _answered(self, asked: int, outcome: dict[str, str]) -> None:
        await asyncio.shield(
            self._note({"phase": "answered", "call": asked, "at": _now(), "outcome": outcome})
        )

    async def _note(self, entry: dict[str, Any]) -> None:
        try:
            await self._end_line(self._begin_line(entry, sync=False))
        except UnavailableError as error:
            _log.error("not in the audit log: %s (%s)", entry, error.message)

    def _begin_line(self, entry: dict[str, Any], *, sync: bool) -> Future[int]:
        """Write a line in a thread; what is returned may be waited for by other threads, too."""
        line: Future[int] = Future()
        write = Task(line, partial(self._log.append, entry, sync=sync))
        _ = asyncio.get_running_loop().run_in_executor(None, write.carry_out)
        return line

    async def _end_line(self, line: Future[int]) -> int:
        """Return the number of a line when it is written."""
        try:
            number = await asyncio.wrap_future(line)
        except UnavailableError as error:
            self._tell(Problem(error.reason, error.message, error.hint))
            raise
        self._tell(None)
        return number

    def _tell(self, problem: Problem | None) -> None:
        if self._told is not None:
            self._problems.remove(self._told)
        if problem is not None:
            self._problems.append(problem)
        self._told = problem


class _Patience:
    """How many more refusals of one user are written: some at once, then one every few seconds."""

    def __init__(self, caller: Caller, pace: float) -> None:
        self.caller, self.omitted = caller, 0
        self.timer: asyncio.TimerHandle | None = None
        self._left, self._since, self._pace = _BURST, time.monotonic(), pace

    def allows(self) -> bool:
        """Tell whether one may be written now, and count it."""
        now = time.monotonic()
        self._left = min(_BURST, self._left + (now - self._since) * self._pace)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def wait(self) -> float:
        """Return in how many seconds one may be written again, at the earliest."""
        return max(1 - self._left, 0.0) / self._pace + _A_LITTLE


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _who(caller: Caller) -> dict[str, Any]:
    origin = caller.origin or ("socket" if caller.uid is not None else "signal")
    return {"at": _now(), "user": caller.user, "from": origin}


def _call(caller: Caller, method: str, request: object) -> dict[str, Any]:
    entry = {**_who(caller), "method": method.rpartition("/")[2]}
    for key in ("uid", "gid", "pid"):
        if (number := getattr(caller, key)) is not None:
            entry[key] = number
    if caller.certificates:
        entry["certificates"] = list(caller.certificates)[:20]
    if isinstance(request, Message):
        entry |= _named(request)
    return entry


def _named(request: Any) -> dict[str, Any]:  # noqa: ANN401 - any request
    """Return what a request names, of its known fields only."""
    known = request.DESCRIPTOR.fields_by_name
    found: dict[str, Any] = {word: getattr(request, word)[:_WORD] for word in _WORDS if word in known}
    if "deployment_id" in known:
        found["deployment_id"] = request.deployment_id[:200]
        found["environment"] = environment_of(request.deployment_id)
    for field in ("environment", "name"):
        if field in known:
            value: Any = getattr(request, field)
            found["environment"] = getattr(value, "name", value)[:100]
    if "update_mask" in known:
        found["changes"] = ",".join(request.update_mask.paths)[:_WORD]
    if getattr(request, "validate_only", False):
        found["validate_only"] = True
    return {key: value for key, value in found.items() if value}


def _success(answer: object) -> dict[str, str]:
    outcome = {"code": "OK"}
    record = getattr(answer, "deployment", None)
    deployment_id = getattr(record, "deployment_id", "") or getattr(answer, "deployment_id", "")
    return outcome | ({"deployment_id": deployment_id} if deployment_id else {})


def _failure(error: BaseException) -> dict[str, str]:
    if isinstance(error, HeadgateError):
        return {"code": code_of(error).name, "reason": error.reason, "message": error.message[:_MESSAGE]}
    return {"code": "CANCELLED" if isinstance(error, asyncio.CancelledError) else "INTERNAL"}
