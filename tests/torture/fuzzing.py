"""What a client gone mad sends: requests bent out of shape, and bytes that are hardly HTTP/2."""

from __future__ import annotations

import random
import struct
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message
from tests.api.test_guard import VALID

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NASTY = (
    "",
    "\0",
    "../../etc/passwd",
    "/",
    "/proc/self/mem",
    "a" * 5000,
    "\u202e\ud7ff\U0010ffff",
    "-",
    "web",
    "deploy_web_1",
    "deploy_web_99999999999999999999_2",
    "${HOME}",
    "*",
    "\n\r\t\x1b[2J",
    "sha256:00",
    "web/../web",
)
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1, 999_999_999, 10**12)
HEAVY = {
    "DaemonService/VerifyHistory",
    "DaemonService/CollectHistory",
    "DaemonService/VerifyAudit",
    "DaemonService/ListAudit",
}
"""What reads all there is; asked for less often."""
METHODS = [method for method in VALID if method not in HEAVY]


def method(dice: random.Random) -> str:
    """Return an RPC."""
    return dice.choice(sorted(HEAVY)) if dice.random() < 0.002 else dice.choice(METHODS)


def request(dice: random.Random, name: str) -> bytes:
    """Return a request of an RPC, or what was one."""
    message = type(VALID[name])()
    if dice.random() < 0.5:
        message.CopyFrom(VALID[name])
    for _ in range(dice.randrange(4)):
        _bend(dice, message)
    raw = message.SerializeToString()
    return raw if dice.random() < 0.5 else mangled(dice, raw)


def mangled(dice: random.Random, raw: bytes) -> bytes:
    """Return bytes with some flipped, cut out, doubled or put in."""
    for _ in range(1 + dice.randrange(4)):
        at = dice.randrange(len(raw) + 1)
        end = min(len(raw), at + dice.randrange(1, 9))
        raw = dice.choice(
            (
                raw[:at] + dice.randbytes(end - at) + raw[end:],
                raw[:at] + raw[end:],
                raw[:end] + raw[at:],
                raw[:at] + dice.randbytes(dice.randrange(1, 40)) + raw[at:],
            )
        )
    return raw


def _bend(dice: random.Random, message: Message) -> None:
    """Set one field, at some depth, to something that it should not have."""
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field: Any = dice.choice(fields)
    if field.message_type and field.message_type.GetOptions().map_entry:
        getattr(message, field.name)[dice.choice(NASTY)] = dice.choice(NASTY)
    elif field.is_repeated and field.message_type:
        _bend(dice, getattr(message, field.name).add())
    elif field.is_repeated:
        getattr(message, field.name).extend(_value(dice, field) for _ in range(dice.randrange(1, 4)))
    elif field.message_type:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _bend(dice, inner)
    else:
        setattr(message, field.name, _value(dice, field))


def _value(dice: random.Random, field: Any) -> object:
    if field.type in (Field.TYPE_STRING, Field.TYPE_BYTES):
        text = dice.choice(NASTY)
        return text if field.type == Field.TYPE_STRING else text.encode()
    if field.type == Field.TYPE_BOOL:
        return dice.random() < 0.5
    if field.type in (Field.TYPE_INT32, Field.TYPE_ENUM):
        return dice.choice([number for number in NUMBERS if -(2**31) <= number < 2**31])
    if field.type == Field.TYPE_UINT32:
        return dice.choice([number for number in NUMBERS if 0 <= number < 2**32])
    if field.type == Field.TYPE_UINT64:
        return dice.choice([number for number in NUMBERS if 0 <= number < 2**64])
    return dice.choice([number for number in NUMBERS if -(2**63) <= number < 2**63])


def frames(dice: random.Random) -> bytes:
    """Return what a connection says: mostly a good beginning, then frames of any kind, true and false lengths, cut anywhere."""
    words = [PREFACE if dice.random() < 0.9 else mangled(dice, PREFACE)]
    if dice.random() < 0.9:
        words.append(frame(4, 0, 0, b""))
    for _ in range(dice.randrange(8)):
        body = dice.randbytes(dice.choice((0, 1, 4, 8, 60, 3000)))
        words.append(
            frame(
                dice.choice((*range(11), 255)),
                dice.randrange(256),
                dice.choice((0, 1, 3, 2**31 - 1)),
                body,
                dice.choice((0, 0, 0, 1, -1, 70_000)),
            )
        )
    told = b"".join(words)
    return told[: dice.randrange(len(told) + 1)] if dice.random() < 0.3 else told


def frame(kind: int, flags: int, stream: int, body: bytes, off: int = 0) -> bytes:
    """Return a frame of HTTP/2 (RFC 9113, 4.1); its length is `off` by so many."""
    length = max(0, min(2**24 - 1, len(body) + off))
    return length.to_bytes(3, "big") + struct.pack("!BBI", kind, flags, stream) + body
