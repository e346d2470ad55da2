"""The environments of the daemon in memory: what is kept of each, and the verbs that change it."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.message import Message

from headgate.errors import ConflictError, Fault, InvalidRequestError, NotFoundError, RefusedError, refuse
from headgate.testing import checks
from headgate.testing.feed import Feed
from headgate.testing.trees import Edits, Tree, drifted, rendered
from headgate.v1 import environment_pb2 as ep


@dataclass(slots=True)
class Place:
    """One environment, with what was deployed to it."""

    message: ep.Environment
    managed: Tree = field(default_factory=dict)
    sequence: int = 0
    running: bool = False
    failed: tuple[str, Tree] | None = None
    """Why the last attempt by itself failed, and for what; it is not tried again for the same."""
    rejected: Edits = field(default_factory=dict)
    """What the hold keeps out, by path."""


class Environments:
    """Every environment, source and target. Guarded by the lock of whoever owns it."""

    def __init__(self, feed: Feed, user: str) -> None:
        self._feed, self._user = feed, user
        self.places: dict[str, Place] = {}
        self.sources: dict[str, dict[str, bytes]] = {}
        self.targets: dict[str, dict[str, bytes]] = {}

    def find(self, name: str) -> Place:
        """Return one."""
        refuse("find the environment", checks.named("name", name))
        if name not in self.places:
            raise NotFoundError(
                f"there is no environment {name}",
                reason="ENVIRONMENT_NOT_FOUND",
                hint="see which there are: headgate env list",
            )
        return self.places[name]

    def create(self, request: ep.CreateEnvironmentRequest) -> str:
        """Create one; with `validate_only` only see whether it could be."""
        wanted, what = request.environment, f"create environment {request.environment.name}"
        faults = [*checks.repeatable(request.request_id), *checks.described(wanted)]
        misplaced = checks.placed(wanted, self._messages())
        if wanted.name in self.places:
            if not faults:
                raise RefusedError(
                    f"cannot {what}: there is one of that name",
                    reason="ENVIRONMENT_EXISTS",
                    hint=f"choose another name, or change it: headgate env set {wanted.name}",
                    faults=misplaced,
                )
            faults.append(Fault("environment.name", "is taken: there is an environment of that name"))
        refuse(what, [*faults, *misplaced])
        if not request.validate_only:
            self.places[wanted.name] = place = Place(self.complete(wanted))
            place.message.created_at.GetCurrentTime()
            place.message.updated_at.CopyFrom(place.message.created_at)
            self.told(place)
        return wanted.name

    @staticmethod
    def complete(wanted: ep.Environment) -> ep.Environment:
        """Return an environment as it is saved: with what was left to the daemon."""
        made = ep.Environment()
        made.CopyFrom(wanted)
        made.ClearField("sync")
        made.generation = 1
        if not wanted.HasField("auto_sync"):
            made.auto_sync = wanted.type != ep.ENVIRONMENT_TYPE_PRODUCTION
        return made

    def update(self, request: ep.UpdateEnvironmentRequest) -> str:
        """Change the fields that the mask names."""
        wanted, name, what = (
            request.environment,
            request.environment.name,
            f"change environment {request.environment.name}",
        )
        old = self.places[name].message if name in self.places else _blank(name)
        changed = ep.Environment()
        changed.CopyFrom(old)
        paths = list(request.update_mask.paths)
        faults = [] if paths else [Fault("update_mask", "names no field to change")]
        for path in paths:
            if path.partition(".")[0] not in _CHANGEABLE or path.count(".") > (path[:9] == "policies."):
                faults.append(Fault("update_mask", f"{path!r:.80} is no field that can change"))
            else:
                _take(path, wanted, changed)
        faults += [*checks.repeatable(request.request_id), *checks.described(changed)]
        if faults and name not in self.places and not checks.named("name", name):
            faults.append(Fault("environment.name", "there is no such environment"))
        if not faults:
            self._expect(self.find(name).message, request, what)
        refuse(what, [*faults, *checks.placed(changed, self._messages())])
        if not request.validate_only and changed != old:
            changed.generation += 1
            changed.updated_at.GetCurrentTime()
            self.places[name].message = changed
            self.told(self.places[name])
        return name

    @staticmethod
    def _expect(present: ep.Environment, request: ep.UpdateEnvironmentRequest, what: str) -> None:
        if request.HasField("expected_generation") and request.expected_generation != present.generation:
            raise ConflictError(
                f"cannot {what}: it is at generation {present.generation}, not {request.expected_generation}",
                reason="GENERATION_MISMATCH",
                hint=f"read it again: headgate env show {present.name}",
            )

    def pause(self, request: ep.PauseEnvironmentRequest) -> str:
        """Stop auto-sync."""
        place = self.find(request.name)
        pause = ep.Pause(reason=request.reason, paused_by=self._user)
        pause.since.GetCurrentTime()
        if request.HasField("until"):
            if request.until.ToNanoseconds() <= pause.since.ToNanoseconds():
                raise InvalidRequestError(f"pause {request.name}", [Fault("until", "is in the past")])
            pause.until.CopyFrom(request.until)
        place.message.sync.pause.CopyFrom(pause)
        self.told(place)
        return request.name

    def resume(self, request: ep.ResumeEnvironmentRequest) -> str:
        """End a pause, a hold, a halt."""
        place = self.find(request.name)
        for kept in ("pause", "hold", "halt"):
            place.message.sync.ClearField(kept)
        place.rejected, place.failed = {}, None
        self.told(place)
        return request.name

    def delete(self, request: ep.DeleteEnvironmentRequest) -> None:
        """Forget one."""
        place = self.find(request.name)
        del self.places[request.name]
        gone = ep.Environment(name=place.message.name)
        self._feed.publish("environments", ep.WATCH_EVENT_KIND_DELETED, gone)

    def told(self, place: Place) -> None:
        """Tell watchers how one is now."""
        self._feed.publish("environments", ep.WATCH_EVENT_KIND_UPDATED, self.shown(place))

    def shown(self, place: Place) -> ep.Environment:
        """Return one as the API shows it, with its sync state."""
        message = ep.Environment()
        message.CopyFrom(place.message)
        edits = drifted(place.managed, self.live(place))
        message.sync.state = self._state(place)
        message.sync.sequence, message.sync.drifted_count = place.sequence, len(edits)
        message.sync.drifted.extend(edits)
        return message

    def live(self, place: Place) -> dict[str, bytes]:
        """Return what is at a target."""
        return self.targets.setdefault(place.message.config_path, {})

    def wanted(self, place: Place) -> dict[str, bytes]:
        """Return what the sources ask for: later ones over earlier ones, variables put in, and for secrets `***`."""
        whole: dict[str, bytes] = {}
        for source in place.message.sources:
            whole |= self.sources.get(source, {})
        values = {**dict.fromkeys(place.message.secrets, "***"), **place.message.variables}
        return {path: rendered(content, values) for path, content in whole.items()}

    def _state(self, place: Place) -> ep.SyncState.ValueType:
        sync = place.message.sync
        states: tuple[tuple[bool, ep.SyncState.ValueType], ...] = (
            (place.running, ep.SYNC_STATE_DEPLOYING),
            (sync.HasField("pause"), ep.SYNC_STATE_PAUSED),
            (sync.HasField("halt"), ep.SYNC_STATE_HALTED),
            (sync.HasField("hold"), ep.SYNC_STATE_HELD),
            (place.failed is not None, ep.SYNC_STATE_FAILING),
            (self.wanted(place) != place.managed, ep.SYNC_STATE_OUT_OF_SYNC),
        )
        return next((state for given, state in states if given), ep.SYNC_STATE_SYNCED)

    def _messages(self) -> dict[str, ep.Environment]:
        return {name: place.message for name, place in self.places.items()}


_CHANGEABLE = ("type", "config_path", "sources", "variables", "secrets", "auto_sync", "policies")


def _blank(name: str) -> ep.Environment:
    """Return an environment that nothing is wrong with, for changes of one that is not there."""
    return ep.Environment(name=name, type=ep.ENVIRONMENT_TYPE_TESTING, config_path="/")


def _take(path: str, source: Message, target: Message) -> None:
    """Make one field be as in another message, set or not."""
    head, _, rest = path.partition(".")
    if rest:
        _take(rest, getattr(source, head), getattr(target, head))
        return
    part = type(source)()
    part.CopyFrom(source)
    for known, _ in source.ListFields():
        if known.name != head:
            part.ClearField(known.name)
    target.ClearField(head)
    target.MergeFrom(part)
