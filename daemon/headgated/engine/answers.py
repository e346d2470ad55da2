"""Gives the same request the same answer, also after a restart."""

from __future__ import annotations

import hashlib

from headgated.core.errors import ConflictError, Fault, InvalidRequestError
from headgated.effects.history import History

LONGEST = 128


class Answers:
    """Remembers what each `request_id` was for and what came of it."""

    def __init__(self, history: History) -> None:
        self._history = history

    def recall(self, request_id: str, verb: str, request: object) -> str | None:
        """Return the answer that the same request had before; None for a new one or one without an id.

        Raises:
            ConflictError: REQUEST_ID_REUSED, the id was used for something else.
            InvalidRequestError: the id is too long.
        """
        if not request_id:
            return None
        if len(request_id) > LONGEST:
            raise InvalidRequestError(verb, [Fault("request_id", f"is longer than {LONGEST} characters")])
        known = self._history.recall_request(request_id)
        if known is None:
            return None
        kind, fingerprint, answer = known
        if kind != verb or fingerprint != _fingerprint(request):
            raise ConflictError(
                f"cannot {verb}: the request id {request_id!r} was used for another request",
                reason="REQUEST_ID_REUSED",
                hint="use a new id for each request, and the same one only to repeat it",
            )
        return answer

    def remember(self, request_id: str, verb: str, request: object, answer: str) -> None:
        """Remember what came of a request."""
        if request_id:
            self._history.remember_request(request_id, verb, _fingerprint(request), answer)


def _fingerprint(request: object) -> str:
    return hashlib.sha256(repr(request).encode("utf-8", "surrogatepass")).hexdigest()
