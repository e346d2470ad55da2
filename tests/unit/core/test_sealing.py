"""Slots in place of secrets: what goes in comes out, and nothing of it stays behind."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import assume, given, strategies as st

from headgated.core.errors import DeploymentFailedError
from headgated.core.render import Renderer
from headgated.core.sealing import (
    NO_SECRETS,
    Sealing,
    SealingKey,
    as_references,
    mask_slots,
    names_in,
)
from headgated.core.tree import Entry, Kind

KEY = SealingKey(bytes(range(32)))
OTHER = SealingKey(bytes(32))
NAMES = st.sampled_from(["A", "B", "DB_PASSWORD", "_x9"])
VALUES = st.dictionaries(NAMES, st.binary(min_size=4, max_size=40), min_size=1)
CONTENT = st.lists(st.one_of(st.binary(max_size=20), NAMES.map(lambda name: f"${{{name}}}".encode()))).map(
    b"".join
)


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


@given(CONTENT, VALUES)
def test_opening_what_was_rendered_with_slots_is_rendering_with_the_values(
    content: bytes, values: dict[str, bytes]
) -> None:
    assume(b"\0" not in content)
    sealing = Sealing(KEY, values)
    texts = {name: value.decode("utf-8", "surrogateescape") for name, value in values.items()}
    assert (
        sealing.open(Renderer(sealing.slots()).render(content).content)
        == Renderer(texts).render(content).content
    )


@given(CONTENT, VALUES)
def test_what_is_concealed_holds_no_value_and_opens_to_what_it_was(
    content: bytes, values: dict[str, bytes]
) -> None:
    longest_first = sorted(values.values(), key=len, reverse=True)
    assume(len(set(longest_first)) == len(longest_first))
    # No value is hidden in the text of the slots themselves, nor made by putting one in.
    slots = b"".join(slot.encode() for slot in Sealing(KEY, values).slots().values())
    assume(not any(value in slots for value in values.values()))
    sealing = Sealing(KEY, values)
    raw = b"x".join([content, *values.values()])
    concealed = sealing.conceal(raw)
    assert sealing.open(concealed) == raw
    assert not any(value in concealed for value in values.values()) or any(
        one in other for one, other in pairwise(reversed(longest_first))
    )


def test_seal_tells_values_apart_without_telling_them() -> None:
    one, two = Sealing(KEY, {"A": b"value-one"}), Sealing(KEY, {"A": b"value-two"})
    content = f"a={one.slots()['A']}\n".encode()
    assert one.slots() == two.slots()
    assert one.seal(content) == KEY.mac(digest(b"a=value-one\n"))
    assert one.seal(content) != two.seal(content) != OTHER.mac(digest(b"a=value-two\n"))
    assert one.version != two.version
    assert one.seal(b"no slot") == b""


def test_slots_of_another_installation_are_text() -> None:
    foreign = Sealing(OTHER, {"A": b"value-one"}).slots()["A"].encode()
    assert Sealing(KEY, {"A": b"value-two"}).open(foreign) == foreign
    assert Sealing(KEY, {"A": b"value-two"}).seal(foreign) == b""


def test_secret_that_is_not_declared_any_more_is_named() -> None:
    content = Sealing(KEY, {"A": b"aaaa", "B": b"bbbb"}).slots()["B"].encode()
    with pytest.raises(DeploymentFailedError, match="the secret B") as caught:
        Sealing(KEY, {"A": b"aaaa"}).open(content)
    assert caught.value.reason == "SECRET_UNKNOWN"


def test_lost_key_is_told_and_nothing_is_written_without_values() -> None:
    content = Sealing(OTHER, {"A": b"aaaa"}).slots()["A"].encode()
    with pytest.raises(DeploymentFailedError, match="another key") as caught:
        Sealing(KEY, {"A": b"aaaa"}).reseal(Entry(Kind.FILE, 0o600, digest(content), len(content)), content)
    assert caught.value.reason == "SECRET_KEY_LOST"


def test_earlier_values_are_concealed_too_and_known() -> None:
    now = Sealing(KEY, {"A": b"value-two"}, [{"A": b"value-one"}])
    sealed = b"a=%s;" % now.slots()["A"].encode()
    assert now.conceal(b"a=value-one;a=value-two;") == 2 * sealed
    assert now.knows(KEY.mac(digest(b"a=value-one;")), sealed)
    assert now.knows(KEY.mac(digest(b"a=value-two;")), sealed)
    assert not now.knows(KEY.mac(digest(b"a=value-nil;")), sealed)


def test_slots_are_shown_as_references_or_not_at_all() -> None:
    slot = Sealing(KEY, {"DB_1": b"aaaa"}).slots()["DB_1"]
    assert as_references(f"a {slot} b".encode()) == b"a ${DB_1} b"
    assert mask_slots(f"a {slot} b") == "a *** b"
    assert names_in(f"{slot} {slot}".encode()) == ("DB_1",)


def test_without_secrets_nothing_is_touched() -> None:
    content = b"HEADGATE_SECRET.0123456789abcdef.A."
    assert NO_SECRETS.open(content) is content
    assert NO_SECRETS.seal(content) == b""
    assert not NO_SECRETS.active
    assert NO_SECRETS.version == ""


def test_value_is_in_no_representation() -> None:
    sealing = Sealing(KEY, {"A": b"canary-value"}, [{"A": b"canary-before"}])
    assert "canary" not in f"{sealing!r} {sealing} {KEY!r}"
    assert "01020304" not in repr(KEY)
