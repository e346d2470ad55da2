from __future__ import annotations

import contextlib
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from headgated.core.config import Settings, parse
from headgated.core.errors import InvalidRequestError

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"
ROWS = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(.+?)` \|", DOCUMENT.read_text(), re.MULTILINE)
KEYS = [
    (table.name, key.name)
    for table in fields(Settings)
    if not table.metadata.get("apart")
    for key in fields(table.metadata.get("each") or type(table.default))  # type: ignore[arg-type]
]


def faults(text: str) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequestError) as caught:
        parse(text)
    assert caught.value.message.startswith("cannot read the configuration: ")
    return [(fault.field, fault.message) for fault in caught.value.faults]


def test_every_key_is_documented() -> None:
    assert [(table, key) for table, key, _ in ROWS] == KEYS


@pytest.mark.parametrize(("table", "key", "default"), ROWS)
def test_default_is_the_documented_one(table: str, key: str, default: str) -> None:
    if table == "grants":
        assert key in ("role", "users") or default == "[]"
        return
    said = parse(f"[{table}]\n{key} = {default}\n")
    assert getattr(getattr(said, table), key) == getattr(getattr(Settings(), table), key)
    assert said == Settings()


def test_example_in_the_documentation_is_right() -> None:
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert example is not None
    said = parse(example[1])
    assert said.settle.quiet == pytest.approx(0.05)
    assert said.limits.max_file_size == 64 * 1024 * 1024
    assert said.roots.targets == ("/etc/apps", "/opt")


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "[daemon]\n[settle]\n", "\r\n[watch]\r\n"])
def test_empty_file_gives_the_defaults(text: str) -> None:
    assert parse(text) == Settings()


def test_every_key_is_read() -> None:
    said = parse("""
        settle.quiet = 0.1
        settle.latest = "1.5s"
        watch = { scan_interval = "5m", full_hash_interval = "1d", git_wait = 0 }
        [daemon]
        state_directory = "/srv/state/"
        socket = "/run/x.sock"
        socket_group = ""
        log_level = "DEBUG"
        [limits]
        max_files = 5
        max_file_size = "10MB"
        stream_above = "2MiB"
        [roots]
        sources = ["/a", "/b/"]
        targets = [
          "/c",
        ]
        [[grants]]
        role = "Deployer"
        users = ["ann", "1000"]
        types = ["staging"]
        [[grants]]
        role = "reader"
        certificates = ["dns:ci.example.org"]
        environments = ["shop-*"]
    """)
    assert (said.settle.quiet, said.settle.latest) == (0.1, 1.5)
    assert (said.watch.scan_interval, said.watch.full_hash_interval, said.watch.git_wait) == (300, 86400, 0)
    assert (said.daemon.state_directory, said.daemon.socket) == ("/srv/state", "/run/x.sock")
    assert (said.daemon.socket_group, said.daemon.log_level) == ("", "debug")
    assert (said.limits.max_files, said.limits.max_file_size) == (5, 10_000_000)
    assert said.limits.stream_above == 2 * 1024 * 1024
    assert (said.roots.sources, said.roots.targets) == (("/a", "/b"), ("/c",))
    assert list(map(str, said.grants)) == [
        "deployer for user ann, user 1000 (only type staging)",
        "reader for dns:ci.example.org (only shop-*)",
    ]


def test_every_fault_is_told_with_its_line() -> None:
    text = """\
[settle]
quite = "20ms"
latest = "soon"

[limits]
max_files = "many"
  max_file_size = 0

[daemons]
x = 1

[daemon]
socket = "headgate.sock"
scan_interval = 5
colour = "red"
"""
    assert faults(text) == [
        ("line 2: settle.quite", "is unknown; did you mean quiet?"),
        (
            "line 3: settle.latest",
            """must be a number of seconds, or text like "20ms", "2s", "5m", "1h" (got 'soon')""",
        ),
        ("line 6: limits.max_files", "must be a whole number between 1 and 100000000 (got 'many')"),
        ("line 7: limits.max_file_size", "must be between 1 and 1099511627776 bytes (got 0)"),
        ("line 9: daemons", "is unknown; did you mean daemon?"),
        ("line 13: daemon.socket", "must be an absolute path (got 'headgate.sock')"),
        ("line 14: daemon.scan_interval", "is unknown here; it belongs in [watch]"),
        (
            "line 15: daemon.colour",
            "is unknown; [daemon] has check_directory, log_level, socket, socket_group, socket_mode, state_directory",
        ),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quiet = 1", ("line 1: quiet", "stands outside of its table; it belongs in [settle]")),
        ("\nsettle = 3", ("line 2: settle", "must be a table: [settle]")),
        ("[[settle]]\nquiet = 1", ("line 1: settle", "must be a table: [settle]")),
        ("[settle]\nquiet = 3", ("line 2: settle.quiet", "is longer than latest (2 s)")),
        ("[settle]\nlatest = '1ms'", ("line 2: settle.latest", "is shorter than quiet (0.02 s)")),
        ("[roots]\nsources = '/a'", ("line 2: roots.sources", """must be a list of absolute paths, like ["/etc/apps"] (got '/a')""")),
        ("[watch]\nscan_interval = 0", ("line 2: watch.scan_interval", "must be between 1 and 86400 seconds (got 0)")),
        ("[watch]\n\nscan_interval = nan", ("line 3: watch.scan_interval", "must be between 1 and 86400 seconds (got nan)")),
        ("[grants]\nrole = 'reader'", ("line 1: grants", "must be a list of tables: [[grants]]")),
        ("\n[[grants]]\nusers = ['a']\n[[grants]]\nrole = 'reader'\nusers = ['a']", ("line 2: grants[0].role", "is missing")),
        ("[[grants]]\nrole = 'reader'\nusers = ['a']\n[[grants]]\nrole = 'reader'\n", ("line 4: grants[1].users", "are missing: name users, groups or certificates")),
        ("[[grants]]\nrole = 'boss'\nusers = ['a']", ("line 2: grants[0].role", "must be one of reader, deployer, admin (got 'boss')")),
        ("[[grants]]\nrole = 'admin'\ngroups = [7]", ("line 3: grants[0].groups", """must be a list of names, like ["alice"] (got 7 in it)""")),
        ("[daemon]\nsocket_mode = '0777'", ("line 2: daemon.socket_mode", """must be "0600", "0660" or "0666" (got '0777')""")),
        ("[tcp]\naddress = ':1'", ("line 2: tcp.address", """must be host:port, like "192.0.2.1:7443" or "[::]:7443" (got ':1')""")),
        ("[tcp]\naddress = 'h:1'\ncertificate = '/c'\nprivate_key = '/k'", ("line 1: tcp.client_ca", "is missing: TCP is served with mutual TLS only")),
        ("watch = {git_wait = 'x'}", ("line 1: watch.git_wait", """must be a number of seconds, or text like "20ms", "2s", "5m", "1h" (got 'x')""")),
    ],
)  # fmt: skip
def test_fault_says_where_and_what(text: str, expected: tuple[str, str]) -> None:
    assert faults(text) == [expected]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[settle]\n\nquiet =\n", "line 3, column "),
        ("[settle]\nquiet = 1\nquiet = 2\n", "line 3, column "),
        ("a = [", "end of document"),
    ],
)
def test_fault_in_the_grammar_says_where(text: str, where: str) -> None:
    ((place, message),) = faults(text)
    assert place.startswith(where)
    assert message.startswith("is not TOML: ")


def test_file_that_is_nested_absurdly_is_a_fault() -> None:
    ((place, message),) = faults("a = " + "[" * 100_000)
    assert (place, message[:11]) == ("file", "is not TOML")


WORDS = st.sampled_from(
    [
        "[settle]",
        "[daemon]",
        "[x]",
        "quiet",
        "latest",
        "=",
        "1",
        "'2s'",
        "\n",
        "[",
        "]",
        "{",
        "}",
        ".",
        '"',
        "# c",
        "nan",
        "é",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS | st.characters(), max_size=20).map("".join))
def test_any_text_gives_settings_or_faults(text: str) -> None:
    with contextlib.suppress(InvalidRequestError):
        assert isinstance(parse(text), Settings)
