"""Finds out what a deployment would change: reads the sources, checks that they are sound, compares with the target.

Changes nothing but what is remembered. Whoever calls holds the environment's lock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import TypeVar

from headgated.core.environment import Environment
from headgated.core.errors import DeploymentFailedError, SourceMovedError, TargetMovedError
from headgated.core.paths import escape, parent, unescape
from headgated.core.plan import Change, Plan, affected, make_plan, new_modes
from headgated.core.render import Renderer
from headgated.core.safety import ACCEPTABLE, Verdict, emptied, mass_removal, source_halt
from headgated.core.sealing import NO_SECRETS, Sealing
from headgated.core.source import ScanFault, Snapshot
from headgated.core.tree import EMPTY, Directory, Entry, Kind, edit, lookup, own, walk
from headgated.core.undo import compose, plan_undo
from headgated.effects.history import History
from headgated.effects.loose import read_loose
from headgated.effects.owner import Owner, owner_of
from headgated.effects.target import Target
from headgated.engine.content import Content, from_history
from headgated.engine.edits import Found
from headgated.engine.runtime import Runtime
from headgated.engine.secrecy import Secrecy
from headgated.engine.sources import Sources
from headgated.engine.wanted import Wanted, WantedTree

T = TypeVar("T")

ATTEMPTS = 5
"""How often reading and planning begin again when files move underneath."""


class UnsoundError(DeploymentFailedError):
    """The sources look broken: nothing is deployed from them without an explicit word."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message, reason=verdict.reason, hint=verdict.hint)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the one who asks has said may happen."""

    empty: bool = False
    mass_removal: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and where the content of what it brings comes from."""

    plan: Plan
    """What it expects is told as it may be kept: without secrets."""
    content: Content
    """With slots in place of secrets."""
    wanted: Wanted | None = None
    sealing: Sealing = NO_SECRETS
    """What is put into the slots."""
    kept: Mapping[bytes, bytes] = field(default_factory=dict)
    """Contents of what is overwritten, by digest, that history is to keep in place of what the target has."""
    observed: Plan | None = None
    """The plan as the target was seen; None: the same."""
    modes: Mapping[bytes, int] = field(default_factory=dict)
    """What new files get, by path, whose mode is not ours to say afterwards."""

    @property
    def seen(self) -> Plan:
        """The plan with what is at the target as a look there tells it."""
        return self.plan if self.observed is None else self.observed


class Planning:
    """Plans deployments, rollbacks and restores.

    Args:
        secrecy: brings secrets into plans.
        stream_above: bytes of the largest file that is rendered; may be set to another number at any time.
    """

    def __init__(
        self,
        sources: Sources,
        history: History,
        open_target: Callable[[str], Target] = Target,
        *,
        secrecy: Secrecy,
        stream_above: int,
    ) -> None:
        self._sources, self._history, self._open_target = sources, history, open_target
        self.secrecy = secrecy
        self.stream_above = stream_above

    def target(self, runtime: Runtime, environment: Environment) -> Target:
        """Return the environment's target, with what is remembered of it."""
        if runtime.target is None or runtime.target_path != environment.config_path:
            runtime.target = self.open_target(environment.config_path)
            runtime.target_path = environment.config_path
        return runtime.target

    def open_target(self, path: str) -> Target:
        """Return what looks at and changes a target directory, and recognises files with secrets there."""
        target = self._open_target(path)
        target.recognise(self.secrecy.vault.mac)
        return target

    def look_anew(self, environment: Environment) -> None:
        """Have every file of the sources looked at again, and secrets: whoever asks must get what is there now, told by events or not."""
        self.secrecy.vault.ask_anew(environment.name)
        for source in self._sources.of(environment):
            source.mark(None)

    def look(self, environment: Environment) -> dict[str, Snapshot]:
        """Return what each source of an environment holds now."""
        return {source.root: source.snapshot() for source in self._sources.of(environment)}

    def read(
        self, runtime: Runtime, environment: Environment, snapshots: Mapping[str, Snapshot] | None = None
    ) -> Wanted:
        """Return what the sources ask for now, or when `look` returned these snapshots.

        Raises:
            DeploymentFailedError: SOURCE_UNREADABLE and other faults of the sources, each path named; SOURCE_UNSETTLED.
            UnsoundError: a source is missing, replaced or emptied.
        """
        sources = self._sources.of(environment)
        largest = self.stream_above
        sealing = self.secrecy.sealing(runtime, environment)
        key = (
            sealing,
            environment.variables,
            environment.policies,
            environment.sources,
            tuple(map(id, sources)),
            largest,
        )
        if runtime.wanted is None or runtime.wanted_for != key:
            owner = _owner(environment)
            wanted = WantedTree(environment, sources, owner, largest, sealing)
            runtime.wanted, runtime.wanted_for = wanted, key
        if snapshots is None:
            snapshots = self.look(environment)
        _refuse_faults(snapshots)
        return runtime.wanted.read(snapshots)

    def unsound(
        self, runtime: Runtime, environment: Environment, snapshots: Mapping[str, Snapshot]
    ) -> Verdict | None:
        """Return why the sources must not be deployed from as they are: the first thing wrong that nobody has accepted."""
        for path in environment.sources:
            mark = environment.marks.get(path)
            verdict = source_halt(
                path,
                snapshots[path],
                was_mount=mark.is_mount if mark else None,
                had_files=mark.had_files if mark else False,
                environment=environment.name,
            )
            if verdict is not None and not (
                verdict.reason in ACCEPTABLE and self._accepted(runtime, environment)
            ):
                return verdict
        return None

    def _accepted(self, runtime: Runtime, environment: Environment) -> bool:
        """Tell whether somebody said that the sources are meant to be as they are now."""
        try:
            return runtime.accepted is not None and runtime.accepted == sources_version(
                self.read(runtime, environment)
            )
        except DeploymentFailedError:
            return False

    def plan_sources(
        self,
        runtime: Runtime,
        environment: Environment,
        wanted: Wanted,
        *,
        full: bool,
        allowed: Allowed | None,
    ) -> Planned:
        """Plan to make the target what the sources say.

        Args:
            full: look at every managed file at the target, not only at those whose source changed.
            allowed: what was said; None: plan whatever it removes.

        Raises:
            UnsoundError: too much would go.
        """
        tree, managed = wanted.tree, runtime.managed
        differing = self.target(runtime, environment).differing(managed) if full else ()
        paths = affected(managed, tree, chain.from_iterable(differing))
        plan = self._plan(runtime, environment, paths, tree)
        planned = self._planned(runtime, environment, plan, wanted.content, wanted)
        if allowed is not None:
            self.check_losses(runtime, planned, allowed)
        return planned

    def check_losses(self, runtime: Runtime, planned: Planned, allowed: Allowed) -> None:
        """Refuse a plan that removes all or most of what was deployed, unless that was said to be meant.

        Raises:
            UnsoundError: SOURCE_EMPTY, MASS_REMOVAL.
        """
        managed, offered = (
            runtime.managed.files,
            planned.wanted.tree.files if planned.wanted is not None else 0,
        )
        gone = sum(1 for c in planned.plan.changes if c.wanted is None and not _is_directory(c.expected))
        verdict = None if allowed.empty else emptied(managed, offered, environment=runtime.name)
        if verdict is None and not (allowed.mass_removal or (allowed.empty and offered == 0)):
            verdict = mass_removal(managed, gone, environment=runtime.name)
        if verdict is not None:
            raise UnsoundError(verdict)

    def plan_files(
        self, runtime: Runtime, environment: Environment, names: Sequence[str], *, loose: bool
    ) -> Planned:
        """Plan to deploy the files named and no others; nothing is removed.

        Args:
            loose: absolute paths outside every source may be named; they go to the top of the target.

        Raises:
            DeploymentFailedError: FILE_NOT_FOUND, NAME_CLASH; every name.
        """
        wanted = self.read(runtime, environment)
        inside, outside = _sort_names(environment, names)
        chosen: dict[bytes, Entry | None] = {}
        missing = [name for name, path in inside.items() if not _choose(wanted.tree, path, chosen)]
        if outside and not loose:
            besides = f"; no source of {environment.name} has {missing[0]}" if missing else ""
            raise DeploymentFailedError(
                f"cannot deploy {outside[0]}: it is outside the environment's sources{besides}",
                reason="OUTSIDE_SOURCES",
                hint="name files of the sources, or add the directory as a source",
                paths=[*outside, *missing],
            )
        contents = self._read_loose(runtime, environment, outside, chosen)
        if missing:
            raise DeploymentFailedError(
                f"cannot deploy {missing[0]}: no source of {environment.name} has it",
                reason="FILE_NOT_FOUND",
                hint="names are relative to the sources, or absolute",
                paths=missing,
            )
        plan = self._plan(runtime, environment, chosen)

        def content(path: bytes, entry: Entry) -> Iterable[bytes]:
            return (contents[path],) if path in contents else wanted.content(path, entry)

        return self._planned(runtime, environment, plan, content, wanted)

    def plan_undo(
        self,
        runtime: Runtime,
        environment: Environment,
        newest_first: Iterable[Sequence[Change]],
        to: Directory,
    ) -> Planned:
        """Plan to give back what was there before deployments.

        Args:
            newest_first: what each of them changed.
            to: what is managed afterwards.
        """
        self.secrecy.vault.ask_anew(environment.name)
        found = compose(newest_first)
        wanted = self.secrecy.resealed(runtime, environment, found)
        target = self.target(runtime, environment)
        live = target.observe(wanted)
        below = {
            path: target.below(path)
            for path, entry in wanted.items()
            if entry is not None and _is_directory(live[path]) and entry.kind != Kind.DIRECTORY
        }
        # What is given back holds the secrets of now, and so does what is managed then.
        renewed = {
            path: replace(own(node), seal=entry.seal)
            for path, entry in wanted.items()
            if entry is not None
            and entry.seal
            and (node := lookup(to, path)) is not None
            and own(node).digest == entry.digest
        }
        plan = plan_undo(edit(to, renewed) if renewed else to, wanted, live, below)
        return self._planned(runtime, environment, plan, from_history(self._history))

    def plan_nothing(self, runtime: Runtime, environment: Environment) -> Planned:
        """Plan to remove everything that was deployed and that nobody changed since."""
        paths: dict[bytes, Entry | None] = dict.fromkeys((path for path, _ in walk(runtime.managed)), None)
        pruning = replace(environment, policies=replace(environment.policies, prune=True))
        plan = self._plan(runtime, pruning, paths)
        return self._planned(runtime, environment, plan, from_history(self._history))

    def plan_deployed(
        self, runtime: Runtime, environment: Environment, deployed: Mapping[bytes, Entry]
    ) -> Planned:
        """Plan to put back what was deployed at the paths given."""
        plan = self._plan(runtime, environment, self.secrecy.resealed(runtime, environment, deployed))
        return self._planned(runtime, environment, plan, from_history(self._history))

    def conceal(
        self, runtime: Runtime, environment: Environment, found: Found
    ) -> tuple[Found, Mapping[bytes, bytes]]:
        """Return what may be kept of what was found at a target, and the contents that are nowhere else, by digest.

        Raises:
            DeploymentFailedError: SECRET_EDITED, SECRET_UNAVAILABLE.
        """
        sealing, read = self.secrecy.sealing(runtime, environment), self.target(runtime, environment).read
        concealer = self.secrecy.concealer(runtime, sealing, read, self.stream_above)
        concealed = {path: concealer.entry(path, live) for path, live in found.items()}
        concealer.close()
        return concealed, concealer.kept

    def _planned(
        self,
        runtime: Runtime,
        environment: Environment,
        plan: Plan,
        content: Content,
        wanted: Wanted | None = None,
    ) -> Planned:
        """Return a plan with all that it takes to carry it out, and no secret in what is kept of it."""
        modes: Mapping[bytes, int] = {}
        if environment.policies.mode == "keep":
            layered = runtime.wanted.layered if runtime.wanted is not None else EMPTY
            modes = new_modes(plan, layered if wanted is None else wanted.layered)
        secrecy, read = self.secrecy, self.target(runtime, environment).read
        sealing = runtime.sealing if wanted is not None else secrecy.sealing_for(runtime, environment, plan)
        concealer = secrecy.concealer(runtime, sealing, read, self.stream_above)
        return Planned(concealer.plan(plan), content, wanted, sealing, concealer.kept, plan, modes)

    def _plan(
        self,
        runtime: Runtime,
        environment: Environment,
        paths: Mapping[bytes, Entry | None],
        whole: Directory | None = None,
    ) -> Plan:
        target = self.target(runtime, environment)
        live = target.observe(paths)
        below = {
            path: target.below(path)
            for path, entry in paths.items()
            if entry is not None and entry.kind != Kind.DIRECTORY and _is_directory(live[path])
        }
        return make_plan(runtime.managed, paths, live, below, prune=environment.policies.prune, whole=whole)

    def _read_loose(
        self,
        runtime: Runtime,
        environment: Environment,
        names: Sequence[str],
        chosen: dict[bytes, Entry | None],
    ) -> dict[bytes, bytes]:
        owner, largest, sealing = _owner(environment), self.stream_above, runtime.sealing
        renderer = Renderer({**environment.variables, **sealing.slots()}, largest)
        contents: dict[bytes, bytes] = {}
        for name in names:
            entry, raw = read_loose(name, largest)
            path = name.rpartition("/")[2].encode("utf-8", "surrogateescape")
            if path in chosen:
                raise DeploymentFailedError(
                    f"cannot deploy {name}: another file named would land at {escape(path)} as well",
                    reason="NAME_CLASH",
                    hint="deploy them one after the other from a source directory",
                    paths=[name],
                )
            content = renderer.render(raw).content
            contents[path] = content
            digest, seal = hashlib.sha256(content).digest(), sealing.seal(content)
            chosen[path] = owner.deployed(entry, digest, len(content), seal)
        return contents


def again_when_moved(attempt: Callable[[], T]) -> T:
    """Run `attempt`; begin again, a few times, when sources or target moved underneath.

    Raises:
        SourceMovedError, TargetMovedError: they never held still.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except (SourceMovedError, TargetMovedError):
            continue
    return attempt()


def environment_version(runtime: Runtime, environment: Environment) -> str:
    """Return a digest of all in an environment that decides what its target shall hold; worked out when that changes."""
    told = {
        "config_path": environment.config_path,
        "sources": environment.sources,
        "variables": environment.variables,
        "secrets": environment.secrets,
        "values": runtime.sealing.version,
        "policies": environment.policies,
    }
    if runtime.version_of != told:
        plain = told | {
            "variables": dict(environment.variables),
            "secrets": dict(environment.secrets),
            "policies": asdict(environment.policies),
        }
        runtime.version_of = told
        runtime.version = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return runtime.version


def _owner(environment: Environment) -> Owner:
    policies = environment.policies
    return owner_of(policies.owner, policies.secret_mode, policies.mode)


def sources_version(wanted: Wanted) -> str:
    """Return a digest of what the sources hold."""
    return wanted.layered.digest.hex()


def _refuse_faults(snapshots: Mapping[str, Snapshot]) -> None:
    found: list[tuple[str, ScanFault]] = [
        (root, fault) for root, now in snapshots.items() for fault in now.faults
    ]
    if found:
        root, first = found[0]
        raise DeploymentFailedError(
            f"cannot read the source {root}: {first.message}"
            + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""),
            reason=first.reason if len({fault.reason for _, fault in found}) == 1 else "SOURCE_FAULTS",
            hint="mend it, or list it in .headgateignore; nothing is removed while a source cannot be read whole",
            paths=[f"{root}/{escape(fault.path)}" for root, fault in found],
        )
    moving = [root for root, now in snapshots.items() if not now.settled]
    if moving:
        raise DeploymentFailedError(
            f"cannot deploy from {moving[0]}: its files keep changing while they are read",
            reason="SOURCE_UNSETTLED",
            hint="wait until whatever writes there is done, or list it in .headgateignore",
            paths=moving,
        )


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == Kind.DIRECTORY


def _sort_names(environment: Environment, names: Sequence[str]) -> tuple[dict[str, bytes], list[str]]:
    """Return name -> path in the target for files of the sources, and the absolute names outside all of them."""
    inside: dict[str, bytes] = {}
    outside = []
    for name in names:
        if not name.startswith("/"):
            inside[name] = unescape(name.removeprefix("./").rstrip("/"))
            continue
        root = next((root for root in environment.sources if name.startswith(root.rstrip("/") + "/")), None)
        if root is None:
            outside.append(name)
        else:
            inside[name] = unescape(name[len(root.rstrip("/")) + 1 :].rstrip("/"))
    return inside, outside


def _choose(tree: Directory, path: bytes, chosen: dict[bytes, Entry | None]) -> bool:
    """Add what `tree` has at `path`, with the directories it is in, to `chosen`; False where there is nothing."""
    node = lookup(tree, path)
    if node is None or not path:
        return False
    above = parent(path)
    while above:
        directory = lookup(tree, above)
        if directory is not None:
            chosen[above] = own(directory)
        above = parent(above)
    chosen[path] = own(node)
    if isinstance(node, Directory):
        chosen.update(walk(node, path))
    return True
