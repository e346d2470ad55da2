"""Pages of environments: which ones a page holds, and the token that the next one begins with.

A token says after which name the next page begins, so environments that come or go between two pages neither repeat nor hide
another one. A page may be shorter than asked for where it would be too large to send.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from headgate.v1 import environment_pb2 as wire
from headgated.api.convert.checks import Checks
from headgated.api.convert.environment import environment_message
from headgated.api.convert.values import ANSWER_ROOM
from headgated.engine.views import EnvironmentView

_MARK = b"after:"


def environments_page(
    request: wire.ListEnvironmentsRequest, views: Iterable[EnvironmentView]
) -> wire.ListEnvironmentsResponse:
    """Return the page of `views` (ordered by name) that the request asks for.

    Raises:
        InvalidRequestError: the size is too large, or the token is none of ours.
    """
    checks = Checks()
    size = checks.page_size(request.page_size, default=100, most=1000)
    after = _after(checks, request.page_token)
    checks.close("list environments")
    return _filled([view for view in views if view.environment.name > after], size)


def _filled(views: list[EnvironmentView], size: int) -> wire.ListEnvironmentsResponse:
    page = wire.ListEnvironmentsResponse()
    room = ANSWER_ROOM
    for view in views:
        message = environment_message(view)
        room -= message.ByteSize()
        if page.environments and (len(page.environments) == size or room < 0):
            page.next_page_token = _token(page.environments[-1].name)
            break
        page.environments.append(message)
    return page


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(_MARK + name.encode()).decode()


def _after(checks: Checks, token: str) -> str:
    if not checks.page_token(token):
        return ""
    try:
        raw = base64.urlsafe_b64decode(token)
        if raw.startswith(_MARK):
            return raw.removeprefix(_MARK).decode("ascii")
    except (binascii.Error, ValueError):
        pass
    checks.add("page_token", "is not one that this daemon gave")
    return ""
