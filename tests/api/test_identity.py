from __future__ import annotations

from collections.abc import Callable

import pytest

from headgated.api.identity import Credentials, Identities
from headgated.api.names import UserNames
from headgated.core.errors import ForbiddenError
from headgated.core.orders import Caller

ANN = Credentials(pid=4321, uid=1000, gid=100)


@pytest.fixture
async def identities() -> Identities:
    names = UserNames(lambda uid: {1000: "ann"}[uid])
    await names.learn(1000)
    return Identities(names)


def peer(address: bytes) -> str:
    return "unix-abstract:" + address.decode().removeprefix("\0")


async def test_identity_carries_who_the_client_is(identities: Identities) -> None:
    assert identities.caller_of(peer(identities.address(ANN))) == Caller(
        "ann", 1000, 100, 4321, frozenset({100})
    )


async def test_identity_of_a_user_without_a_name_shows_its_number(identities: Identities) -> None:
    assert identities.caller_of(peer(identities.address(Credentials(1, 77, 7)))).user == "uid:77"


async def test_identity_is_another_one_for_each_connection_and_fits_a_socket_address(
    identities: Identities,
) -> None:
    biggest = Credentials(pid=4_194_304, uid=2**32 - 2, gid=2**32 - 2)
    addresses = {identities.address(biggest) for _ in range(1000)}
    assert len(addresses) == 1000
    assert all(len(address) <= 108 for address in addresses)


FORGERIES: dict[str, Callable[[str], str]] = {
    "another user": lambda real: real.replace("/1000/", "/0/", 1),
    "no seal": lambda real: real.rpartition("/")[0],
    "a changed seal": lambda real: real[:-1] + ("0" if real[-1] != "0" else "1"),
    "something behind": lambda real: real + "/x",
    "no abstract name": lambda real: real.replace("unix-abstract:", "unix:"),
    "a guess": lambda real: "unix-abstract:headgate/0/0/1/1/" + "0" * 32,
    "a nameless socket": lambda real: "unix:",
    "another network": lambda real: "ipv4:127.0.0.1:80",
    "nothing": lambda real: "",
    "other letters": lambda real: "unix-abstract:é/ü",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_identity_that_was_not_issued_is_refused(identities: Identities, forgery: str) -> None:
    with pytest.raises(ForbiddenError) as refused:
        identities.caller_of(FORGERIES[forgery](peer(identities.address(ANN))))
    assert refused.value.reason == "CALLER_UNKNOWN"


async def test_identity_of_another_daemon_is_refused(identities: Identities) -> None:
    with pytest.raises(ForbiddenError):
        identities.caller_of(peer(Identities(UserNames()).address(ANN)))
