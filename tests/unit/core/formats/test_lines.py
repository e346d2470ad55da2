from __future__ import annotations

import configparser
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from headgated.core.formats import read
from headgated.core.formats.node import UnclearError


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("\n# c\n  # c\n\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\n\nB=2\n", {"A": "1", "B": "2"}),
        ("  export  A = 1  \n", {"A": "1"}),
        ("A=\nB=''\nC=\"\"", {"A": "", "B": "", "C": ""}),
        ("A=a b # c\nB=a#b\nC=#c", {"A": "a b", "B": "a#b", "C": ""}),
        ("A='a # b' # c\nB=\"a 'b' # c\"", {"A": "a # b", "B": "a 'b' # c"}),
        ('A="line\nline"\nB=1', {"A": "line\nline", "B": "1"}),
        ('A="a\\"b"', {"A": 'a\\"b'}),
        ('A="open\nB=1', {"A": '"open', "B": "1"}),
        ('A="x"y', {"A": '"x"y'}),
        ("A=b=c", {"A": "b=c"}),
        ("spring.port=1\nA-B=2", {"spring.port": "1", "A-B": "2"}),
    ],
)
def test_env_file_is_read_line_by_line(text: str, settings: dict[str, str]) -> None:
    assert read(b".env", text.encode()) == [settings]
    assert read(b".env", text.replace("\n", "\r\n").encode()) == [settings]


@pytest.mark.parametrize("text", ["A", "1=2", "=x", "A=1\nB", "A=1\nA=1", "if [ x ]; then", "A B=1"])
def test_env_file_that_is_none_is_unclear(text: str) -> None:
    with pytest.raises(UnclearError):
        read(b".env", text.encode())


def test_ini_file_keeps_case_and_has_no_special_section() -> None:
    text = b"[DEFAULT]\nA = 1\n[Web]\nPort: 80\nalone\nlong = a\n  b\n%(x)s = %(y)s\n"
    assert read(b"a.ini", text) == [
        {"DEFAULT": {"A": "1"}, "Web": {"Port": "80", "alone": None, "long": "a\nb", "%(x)s": "%(y)s"}}
    ]


@pytest.mark.parametrize(
    "text", ["a = 1", "[a]\nb = 1\n[a]\nc = 1", "[a]\nb = 1\nb = 2", "[a\nb = 1", "[a]\n= 1"]
)
def test_ini_file_that_is_ambiguous_is_unclear(text: str) -> None:
    with pytest.raises(UnclearError):
        read(b"a.ini", text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "[a]\nalone",
        "[a]\nb: 1",
        "server { listen 80; }",
        "<Directory /x>\n  Options None\n</Directory>",
        "listen_addresses = '*'",
        "Host *\n  User me",
    ],
    ids=["key alone", "colon", "nginx", "apache", "postgresql", "ssh"],
)
def test_conf_file_that_is_not_ini_beyond_doubt_is_unclear(text: str) -> None:
    with pytest.raises(UnclearError):
        read(b"a.conf", text.encode())


def test_conf_file_that_is_ini_is_read() -> None:
    assert read(b"journald.conf", b"# c\n[Journal]\nStorage=auto\n#X=1\n") == [
        {"Journal": {"Storage": "auto"}}
    ]


@given(st.text(alphabet=st.sampled_from("[]a=:#; \t\n\r\x0b\x0c\u2028"), max_size=24))
def test_what_a_parser_reads_as_ini_is_never_refused_before_it_is_asked(text: str) -> None:
    parser = configparser.RawConfigParser(delimiters=("=", ":"), allow_no_value=True, default_section="\0")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    expected = None
    with suppress(configparser.Error):
        parser.read_string(text)
        expected = [{section: dict(parser.items(section)) for section in parser.sections()}]
    try:
        found = read(b"x.ini", text.encode())
    except UnclearError:
        found = None
    assert found == expected
