"""Notices managed files at the target that are no longer what was deployed, and says when that is in a deployment's way.

A look costs what may have changed: the paths that events named and those known to have drifted; everything at start, on any
doubt and with the periodic scan. It runs beside deployments and waits for none but for a moment at its end, when what it
suspects is looked at once more under the environment's lock, so that a deployment in progress is never taken for drift.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice

from headgated.core.environment import DriftPolicy, Environment
from headgated.core.errors import DeploymentFailedError, HeadgateError, NotFoundError
from headgated.core.paths import escape, unescape
from headgated.core.plan import Plan
from headgated.core.safety import Verdict
from headgated.core.tree import Directory, Entry, lookup, own
from headgated.effects.target import Target
from headgated.engine.edits import Found
from headgated.engine.environments import Environments
from headgated.engine.planning import Planning
from headgated.engine.runtime import Runtime

log = logging.getLogger("headgated.drift")

DRIFTED = "DRIFTED"
"""The reason of a refusal and of a halt."""
AT_ONCE = 100
"""So many paths that events named are looked at before others get their turn."""
PATIENCE = 2.0
"""Seconds that an environment at work is waited for; the thread has something else to do."""
SHOWN = 100
NAMED = 10
"""So many paths are named in a message."""


class Drift:
    """Looks at targets. Thread-safe; blocking.

    Args:
        tell: told of each environment whose drift has changed.
    """

    def __init__(self, environments: Environments, planning: Planning, tell: Callable[[str], None]) -> None:
        self._environments, self._planning, self._tell = environments, planning, tell

    def look(self, runtime: Runtime) -> bool:
        """Look where something may have changed; tell whether anything there has drifted. What cannot be read is looked at again."""
        if runtime.misfit or runtime.needs_recovery:
            return False
        if not runtime.lock.acquire(timeout=PATIENCE):
            return bool(
                runtime.edits.known
            )  # What follows a deployment may take minutes; it is looked at after that.
        runtime.lock.release()
        dirty = runtime.edits.take()
        try:
            with runtime.lock:
                environment, managed = self._environments.get(runtime.name), runtime.managed
                target = self._planning.target(runtime, environment)
            suspects = list(_suspects(target, managed, dirty))
            with runtime.lock:
                changed = self._confirm(runtime, environment, suspects)
        except NotFoundError:
            return False  # It is deleted.
        except HeadgateError as error:
            runtime.edits.mark(None)
            log.warning("cannot tell what has drifted in %s: %s", runtime.name, error.message)
            return bool(runtime.edits.known)
        if changed:
            self._tell(runtime.name)
        return bool(runtime.edits.known)

    def _confirm(self, runtime: Runtime, environment: Environment, suspects: Iterable[bytes]) -> bool:
        managed = runtime.managed
        found = differing(
            self._planning.target(runtime, environment),
            _deployed(managed, {*suspects, *runtime.edits.known}),
        )
        if not found:
            runtime.edits.calm()
        return remember(runtime, found)


def differing(target: Target, deployed: Mapping[bytes, Entry]) -> Found:
    """Return what is not as deployed, with what is there.

    Args:
        target: where to look.
        deployed: what was deployed, by path.

    Raises:
        DeploymentFailedError, TargetMovedError: it cannot be read.
    """
    seen = _observe(target, deployed)
    return {path: live for path, live in seen.items() if not deployed[path].stays(live)}


def _deployed(managed: Directory, paths: Iterable[bytes]) -> dict[bytes, Entry]:
    return {path: own(node) for path in paths if (node := lookup(managed, path)) is not None}


def _observe(target: Target, paths: Mapping[bytes, Entry]) -> Found:
    try:
        return target.observe(paths)
    except DeploymentFailedError as error:
        if error.reason != "SPECIAL_FILE":
            raise
        special = {unescape(path) for path in error.paths}
        return {**target.observe(paths.keys() - special), **dict.fromkeys(special & paths.keys())}


def _suspects(target: Target, managed: Directory, dirty: Iterable[bytes] | None) -> Iterator[bytes]:
    """Yield the managed paths that seem not to be as deployed, of those that are to be looked at.

    Rests for as long as it works, so that a look at very many never holds up deployments elsewhere.
    """
    nodes = {path: lookup(managed, path) for path in ((b"",) if dirty is None else dirty)}
    named = _batches({path: own(node) for path, node in nodes.items() if path and node is not None})
    looks: Iterator[Iterable[bytes]] = chain(
        (differing(target, some) for some in named),
        *(target.differing(node, path) for path, node in nodes.items() if isinstance(node, Directory)),
    )
    began = time.monotonic()
    for found in looks:
        yield from found
        time.sleep(time.monotonic() - began)
        began = time.monotonic()


def _batches(deployed: Mapping[bytes, Entry]) -> Iterator[dict[bytes, Entry]]:
    items = iter(deployed.items())
    while some := dict(islice(items, AT_ONCE)):
        yield some


def remember(runtime: Runtime, found: Found) -> bool:
    """Note what has drifted; tell whether that is news. Logged once for each set of paths."""
    if found == runtime.edits.known:
        return False
    news = found.keys() != runtime.edits.known.keys()
    runtime.edits.known = found
    runtime.drifted = tuple(escape(path) for path in sorted(found)[:SHOWN])
    runtime.drifted_count = len(found)
    if news and found:
        log.warning("%s: %s", runtime.name, _sentence(found))
    elif news:
        log.info("%s: everything at the target is as deployed again", runtime.name)
    return True


def forget_changed(runtime: Runtime, plan: Plan) -> None:
    """Note that a deployment has made what it changed as deployed."""
    if runtime.edits.known:
        changed = {change.path for change in plan.changes}
        remember(runtime, {p: live for p, live in runtime.edits.known.items() if p not in changed})


def in_the_way(runtime: Runtime, environment: Environment, plan: Plan | None = None) -> list[bytes]:
    """Return the drifted paths for which an environment with policy `refuse` must not be deployed.

    Args:
        plan: what is about to be done; where it meets an edit that is not known yet, that is known from then on.
    """
    if environment.policies.drift != DriftPolicy.REFUSE:
        return []
    known = dict(runtime.edits.known)
    for change in plan.changes if plan is not None else ():
        ours = lookup(runtime.managed, change.path)
        if ours is not None and not own(ours).stays(change.expected):
            known[change.path] = change.expected
    remember(runtime, known)
    return sorted(path for path, live in known.items() if not runtime.edits.allowed(path, live))


def look_at_all(runtime: Runtime, environment: Environment, planning: Planning) -> None:
    """Look at everything that is managed. Whoever calls holds the environment's lock.

    Raises:
        HeadgateError: it cannot be read.
    """
    target, managed = planning.target(runtime, environment), runtime.managed
    suspects = chain.from_iterable(target.differing(managed))
    remember(runtime, differing(target, _deployed(managed, suspects)))


def verdict(name: str, paths: Iterable[bytes]) -> Verdict:
    """Return why drift keeps an environment from being deployed."""
    return Verdict(
        DRIFTED,
        f"cannot deploy to {name}: {_sentence(list(paths))}",
        f"take the edits over: headgate adopt {name}; or have them overwritten: headgate env resume {name}",
    )


def refusal(name: str, paths: list[bytes]) -> DeploymentFailedError:
    """Return the error for a deployment that drift keeps from being made."""
    told = verdict(name, paths)
    return DeploymentFailedError(
        told.message, reason=told.reason, hint=told.hint, paths=[escape(path) for path in paths]
    )


def _sentence(paths: Iterable[bytes]) -> str:
    every = sorted(paths)
    named = ", ".join(escape(path) for path in every[:NAMED]) + (", ..." if len(every) > NAMED else "")
    return f"{len(every)} managed path{'s' * (len(every) != 1)} at the target no longer as deployed: {named}"
