"""R1-R3: one pass, longest identifier, values never scanned; undeclared names stay; bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings, strategies as st

from headgated.core import render
from headgated.core.errors import DeploymentFailedError, InvalidRequestError
from headgated.core.render import Renderer

LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
DIGITS = b"0123456789"

NGINX = b"""\
server {
    listen 80;
    location / {
        proxy_set_header Host $host;
        try_files $uri $uri/ =404;
        rewrite ^/(.*)$ /index.php?q=$1 last;
        return 301 https://$server_name$request_uri;
    }
}
"""
SHELL = b"""\
#!/bin/sh
set -e
for each in "$@"; do echo "$1 $# $? $$ $! $- ${each} ${1} ${#each} ${each%.conf} ${!each} $(date) $((1 + 2))"; done
"""
BCRYPT = b"admin:$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW\nother:$6$salt$hash.of./it\n"


def rendered(content: bytes, **variables: str) -> bytes:
    return Renderer(variables).render(content).content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"$KEY", b"<key>"),
        (b"${KEY}", b"<key>"),
        (b"$KEY_2", b"<second>"),
        (b"${KEY}_2", b"<key>_2"),
        (b"$KEY2", b"$KEY2"),
        (b"$KEY.$KEY/$KEY-$KEY", b"<key>.<key>/<key>-<key>"),
        (b"$KEY$KEY_2${KEY}", b"<key><second><key>"),
        (b"$NESTED", b"$KEY ${KEY} $$KEY"),
        (b"[$EMPTY|${EMPTY}]", b"[|]"),
        (b"$key", b"$key"),
        (b"${ KEY }", b"${ KEY }"),
        (b"${KEY", b"${KEY"),
        (b"${KEY }", b"${KEY }"),
        (b"$ KEY", b"$ KEY"),
        (b"KEY $", b"KEY $"),
        (b"$K\xc3\x89Y $KEY\xc3\x89", b"$K\xc3\x89Y <key>\xc3\x89"),
    ],
)
def test_reference_is_substituted_by_the_longest_identifier_in_one_pass(
    content: bytes, expected: bytes
) -> None:
    values = {"KEY": "<key>", "KEY_2": "<second>", "NESTED": "$KEY ${KEY} $$KEY", "EMPTY": ""}
    assert rendered(content, **values) == expected
    assert rendered(content, **dict(reversed(values.items()))) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"${KEY:-default}", b"<key>"),
        (b"${EMPTY:-default}", b"default"),
        (b"${UNKNOWN:-default}", b"default"),
        (b"${UNKNOWN:-}", b""),
        (b"${UNKNOWN:-$KEY}", b"$KEY"),
        (b"${UNKNOWN:-${KEY}}", b"${KEY}"),
        (b"${KEY:-${UNKNOWN:-${KEY}}}", b"<key>"),
        (b'${UNKNOWN:-{"a": {"b": {}}}}', b'{"a": {"b": {}}}'),
        (b"${UNKNOWN:-a:-b}", b"a:-b"),
        (b"${UNKNOWN:-not\nclosed on its line}", b"${UNKNOWN:-not\nclosed on its line}"),
        (b"${UNKNOWN:-not\r\nclosed}", b"${UNKNOWN:-not\r\nclosed}"),
        (b"${UNKNOWN:-{{{{too deep}}}}}", b"${UNKNOWN:-{{{{too deep}}}}}"),
        (b"${UNKNOWN:-{open}", b"${UNKNOWN:-{open}"),
        (b"${UNKNOWN:-{{{\n}}}}", b"${UNKNOWN:-{{{\n}}}}"),
        (b"${KEY-default} ${KEY:+x} ${KEY:=x}", b"${KEY-default} ${KEY:+x} ${KEY:=x}"),
    ],
)
def test_default_stands_where_the_value_is_missing_or_empty(content: bytes, expected: bytes) -> None:
    assert rendered(content, KEY="<key>", EMPTY="") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"$$KEY", b"$KEY"),
        (b"$${KEY}", b"${KEY}"),
        (b"$${KEY:-x}", b"${KEY:-x}"),
        (b"$${UNKNOWN:-x}", b"${UNKNOWN:-x}"),
        (b"$$$KEY", b"$<key>"),
        (b"$$$$KEY", b"$$KEY"),
        (b"$$$$$KEY", b"$$<key>"),
        (b"$$UNKNOWN $${UNKNOWN} $$$UNKNOWN", b"$$UNKNOWN $${UNKNOWN} $$$UNKNOWN"),
        (b"$$ $$$ $$1 $$", b"$$ $$$ $$1 $$"),
        (b"$KEY$$KEY", b"<key>$KEY"),
    ],
)
def test_two_dollars_give_one_only_where_a_substitution_would_follow(content: bytes, expected: bytes) -> None:
    assert rendered(content, KEY="<key>") == expected


@pytest.mark.parametrize("content", [NGINX, SHELL, BCRYPT], ids=["nginx", "shell", "bcrypt"])
def test_undeclared_names_stay_as_they_are(content: bytes) -> None:
    assert rendered(content, PORT="80") == content
    assert rendered(content + b"$PORT", PORT="80") == content + b"80"


def test_undefined_names_are_told_once_each_in_order() -> None:
    content = b"$uri $A ${host} $uri $$escaped ${with:-default} $1 $2b$ ${1} ${bad name} $$$odd ${uri}"
    assert Renderer({"A": "a"}).render(content).undefined == ("uri", "host", "odd")


def test_undefined_names_are_told_for_every_file() -> None:
    renderer = Renderer({"A": "a"})
    for _ in range(2):
        assert renderer.render(b"$A $x").undefined == ("x",)
        assert renderer.render(b"$A").undefined == ()
        assert renderer.render(b"$y $x").undefined == ("y", "x")


@pytest.mark.parametrize(
    ("variables", "content"),
    [
        ({}, b"$A ${A} ${A:-x} $$A"),
        ({"A": "a"}, b"no dollar, nothing to do"),
        ({"A": "a"}, b"$A \0 binary"),
        ({"A": "a"}, b""),
    ],
    ids=["no variables", "no dollar", "binary", "empty"],
)
def test_file_without_anything_to_render_is_the_same_object(
    variables: dict[str, str], content: bytes
) -> None:
    assert Renderer(variables).render(content).content is content


def test_line_ends_and_other_encodings_pass_through() -> None:
    content = b"\xff\xfe caf\xe9=$A\r\n\r\r\n\x80${A}\x80\r"
    assert rendered(content, A="\u00e9") == b"\xff\xfe caf\xe9=\xc3\xa9\r\n\r\r\n\x80\xc3\xa9\x80\r"


def test_value_that_came_from_bytes_becomes_those_bytes() -> None:
    assert rendered(b"$A", A=b"caf\xe9\xff".decode("utf-8", "surrogateescape")) == b"caf\xe9\xff"


def test_value_that_is_no_text_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Renderer({"GOOD": "x", "A": "\ud800", "B": "\ud800"})
    assert len(caught.value.faults) == 2
    assert "variables.'A'" in caught.value.message


def test_result_is_bounded() -> None:
    renderer = Renderer({"LONG": "x" * 65536, "S": "s"})
    with pytest.raises(DeploymentFailedError) as caught:
        renderer.render(b"$LONG" * (render.RENDERED_BYTES // 65536 + 1))
    assert caught.value.reason == "RENDER_TOO_LARGE"
    many_short = b"$S" * (render.RENDERED_BYTES // 65536 + 1)
    assert renderer.render(many_short).content == b"s" * (len(many_short) // 2)


def test_memory_for_references_is_bounded() -> None:
    renderer = Renderer({"A": "a"})
    for number in range(2000):
        assert renderer.render(b"$A ${B%d:-%s}" % (number, b"x" * 2000)).content == b"a " + b"x" * 2000
    assert renderer._known.size < 2 * render._REMEMBERED_BYTES


@pytest.mark.parametrize(
    "piece",
    [
        b"$",
        b"${",
        b"${A:-",
        b"${A:-{",
        b"${A:-{{{",
        b"{}",
        b"$$ ",
        b"$A",
        b"$u",
        b"${A:-{}",
        b"${A:-x}",
        b"${A:-\n",
        b"$${",
    ],
)
def test_hard_input_takes_time_by_its_length(piece: bytes) -> None:
    """Anything quadratic would take hours here."""
    for head, tail in ((b"", b""), (b"${A:-", b"}")):
        Renderer({"A": "a"}).render(head + piece * (1_000_000 // len(piece)) + tail)


def reference(content: bytes, variables: Mapping[str, str]) -> tuple[bytes, tuple[str, ...]]:
    """The rules, byte by byte."""
    if not variables or b"\0" in content:
        return content, ()
    values = {name.encode(): value.encode() for name, value in variables.items()}
    out, undefined, at = b"", [], 0
    while at < len(content):
        if content[at : at + 1] != b"$":
            out += content[at : at + 1]
            at += 1
            continue
        begin = at
        while content[at : at + 1] == b"$":
            at += 1
        dollars, body = at - begin, at
        found = parse_reference(content, at)
        if found is None:
            out += content[begin:at]
            continue
        name, default, at = found
        if name in values or default is not None:
            value = values.get(name, b"")
            if value == b"" and default is not None:
                value = default
            out += b"$" * (dollars // 2) + (value if dollars % 2 else content[body:at])
        else:
            out += content[begin:at]
            if dollars % 2 and name.decode() not in undefined:
                undefined.append(name.decode())
    return out, tuple(undefined)


def parse_reference(content: bytes, at: int) -> tuple[bytes, bytes | None, int] | None:
    braced = content[at : at + 1] == b"{"
    begin = at = at + braced
    while at < len(content) and (content[at] in LETTERS or (at > begin and content[at] in DIGITS)):
        at += 1
    name = content[begin:at]
    if not name:
        return None
    if not braced:
        return name, None, at
    if content[at : at + 1] == b"}":
        return name, None, at + 1
    if content[at : at + 2] != b":-":
        return None
    begin, depth = at + 2, 0
    for end in range(begin, len(content)):
        byte = content[end : end + 1]
        if byte == b"\n" or (byte == b"{" and depth == 3):
            return None
        if byte == b"}" and depth == 0:
            return name, content[begin:end], end + 1
        depth += (byte == b"{") - (byte == b"}")
    return None


PIECES = [
    b"$",
    b"$$",
    b"${",
    b"}",
    b"{",
    b":-",
    b"A",
    b"AB",
    b"_",
    b"B2",
    b"1",
    b" ",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xc3\xa9",
    b":",
]
NAMES = ["A", "AB", "_", "B2", "A_", "AAB", "x"]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=2), max_size=30).map(b"".join),
    st.dictionaries(
        st.sampled_from(NAMES),
        st.sampled_from(["", "v", "$A", "${AB}", "$$", "{", "}", "\u00e9"]),
        max_size=5,
    ),
)
def test_result_is_what_the_rules_say(content: bytes, variables: dict[str, str]) -> None:
    renderer = Renderer(variables)
    for _ in range(2):  # The second time from what is remembered.
        result = renderer.render(content)
        assert (result.content, result.undefined) == reference(content, variables)
