from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from headgated.core.masking import USUAL, SecretNames
from headgated.core.settings import LISTED_SETTINGS, settings_changed

MEBI = 1024 * 1024


def changed(path: str, old: str | None, new: str | None) -> dict[str, tuple[str | None, str | None]] | None:
    contents = (None if text is None else text.encode() for text in (old, new))
    found = settings_changed(path.encode(), *contents)
    if found is None:
        return None
    assert all(change.path == path for change in found)
    return {change.key: (change.old, change.new) for change in found}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("a.json", '{"web": {"port": 80, "name": "x"}}', '{"web": {"name": "x",\n"port": 81}}'),
        ("a.yaml", "web:\n  port: 80\n  name: x\n", "# c\nweb: {name: 'x', port: 81}\n"),
        ("a.YML", "web:\n  port: 80\n", "---\nweb:\n    port: 81\n"),
        ("a.toml", "[web]\nport = 80\nname = 'x'\n", 'web.name = "x"\nweb.port = 81 # c\n'),
    ],
)
def test_setting_that_changed_is_told_by_its_dotted_key(path: str, old: str, new: str) -> None:
    assert changed(path, old, new) == {"web.port": ("80", "81")}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("a.ini", "[web]\nport = 80\nname=x\n", "; c\n[web]\nname: x\nport: 81\n"),
        ("etc/a.cfg", "[web]\nport = 80\n", "[web]\n\nport=81\n"),
        ("a.conf", "[web]\nport = 80\n", "[web]\n# c\nport=81\n"),
        ("a.service", "[web]\nport=80\n", "# c\n[web]\nport = 81\n"),
        ("a.xml", "<web><port>80</port></web>", "<!-- c -->\n<web>\n  <port>81</port>\n</web>"),
    ],
)
def test_value_of_an_ini_file_is_text(path: str, old: str, new: str) -> None:
    assert changed(path, old, new) == {"web.port": ('"80"', '"81"')}


def test_properties_are_read_and_secrets_in_them_hidden() -> None:
    old, new = "# c\nport: 80\ndb.password=a\n", "db.password=b\nport 81\n"
    assert changed("a.properties", old, new) == {
        "port": ('"80"', '"81"'),
        '"db.password"': ('"***"', '"***"'),
    }


@pytest.mark.parametrize("path", [".env", "x/.env.production", "prod.env", "a/.ENV"])
def test_env_file_is_known_by_its_name(path: str) -> None:
    assert changed(path, "A=1\nexport B='x y' # c\n", '# c\n\nB="x y"\nA=2\n') == {"A": ('"1"', '"2"')}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("nginx.conf", "server { listen 80; }", "server { listen 81; }"),
        ("a.conf", "key = 1", "key = 2"),
        ("a.conf", "[a]\nb = 1\nalone", "[a]\nb = 2\nalone"),
        ("a.ini", "key = 1", "key = 2"),
        ("a.txt", "a=1", "a=2"),
        ("json", "{}", '{"a": 1}'),
        ("a.json", "{}", "{"),
        ("a.json", '{"a": 1}', '{"a": 1, "a": 2}'),
        ("a.json", '{"a": 1}', '// c\n{"a": 2}'),
        ("a.json", '"text"', '"other"'),
        ("a.yaml", "a: 1", "a: 1\na: 2"),
        ("a.yaml", "a: 1", "a: {{ templated }}"),
        ("a.yaml", "a: 1", "? [x]\n: 1"),
        ("a.yaml", "a: 1", "*unknown"),
        ("a.yaml", "text", "other text"),
        ("a.toml", "a = 1", "a = 1\na = 2"),
        ("a.ini", "[a]\nb=1", "[a]\nb=1\nb=2"),
        (".env", "A=1", "A=1\nA=2"),
        (".env", "A=1", "run this"),
        ("a.json", '{"a": 1}', '{"a": "\\u0000"}\0'),
    ],
)
def test_file_that_is_unclear_is_left_to_the_line_diff(path: str, old: str, new: str) -> None:
    assert changed(path, old, new) is None


def test_file_that_is_not_utf8_is_left_to_the_line_diff() -> None:
    assert settings_changed(b"a.ini", b"[a]\nb=\xff", b"[a]\nb=c") is None


def test_comments_order_and_spelling_do_not_count() -> None:
    assert changed("a.yaml", "b: [1, x]\na: yes\n", "a: true # c\nb:\n- 1\n- 'x'\n") == {}
    assert changed("a.json", '{"a": 1, "b": 2}', '\ufeff{ "b":2 , "a":1 }') == {}
    assert changed("a.env", "A=x\r\nB=y\r\n", "B=y\nA=x\n") == {}


def test_added_and_removed_files_are_told_setting_by_setting() -> None:
    assert changed("a.json", None, '{"a": {"b": [true, null]}}') == {
        "a.b[0]": (None, "true"),
        "a.b[1]": (None, "null"),
    }
    assert changed("a.json", '{"a": {}}', None) == {"a": ("{}", None)}
    assert changed("a.json", None, None) == {}
    assert changed("a.yaml", None, "# nothing but a comment\n") == {}


def test_odd_keys_are_quoted_so_that_a_key_is_one_place() -> None:
    old = '{"a.b": {"": 1, "c[0]": 1, "caf\u00e9": 1, "x\\ny": 1}, "kubernetes.io/name": 1, "l": [[1]]}'
    assert set(changed("a.json", old, "{}") or ()) == {
        '"a.b".""', '"a.b"."c[0]"', '"a.b".caf\u00e9', '"a.b"."x\\ny"', '"kubernetes.io/name"', "l[0][0]",
    }  # fmt: skip


def test_documents_of_a_yaml_file_are_told_apart() -> None:
    assert changed("a.yaml", "a: 1", "a: 1\n---\na: 2\n") == {"documents[1].a": (None, "2")}
    assert changed("a.yaml", "---\na: 1\n---\na: 2\n", "---\na: 1\n---\na: 3\n") == {
        "documents[1].a": ("2", "3")
    }


def test_values_are_json_whatever_they_were() -> None:
    new = """{"nan": NaN, "inf": -Infinity, "big": 123456789012345678901234567890, "exact": 0.10000000000000000001, "e": 1e400}"""
    assert changed("a.json", "{}", new) == {
        "nan": (None, '"NaN"'),
        "inf": (None, '"-Infinity"'),
        "big": (None, "123456789012345678901234567890"),
        "exact": (None, "0.10000000000000000001"),
        "e": (None, "1e400"),
    }
    new = "d = 1979-05-27\nt = 07:32:00\ndt = 1979-05-27T07:32:00Z\nn = nan\nbig = 123456789012345678901234567890\nh = 0xff"
    assert changed("a.toml", "", new) == {
        "d": (None, '"1979-05-27"'),
        "t": (None, '"07:32:00"'),
        "dt": (None, '"1979-05-27T07:32:00+00:00"'),
        "n": (None, '"nan"'),
        "big": (None, "123456789012345678901234567890"),
        "h": (None, "255"),
    }
    new = "d: 2024-01-01\nn: .nan\nh: 0xff\no: 017\ns: 1:30\nv: !vault abc\nb: !!binary eA==\nz: ~\nbig: 123456789012345678901234567890"
    found = changed("a.yaml", "", new)
    assert found == {
        "d": (None, '"2024-01-01"'),
        "n": (None, '".nan"'),
        "h": (None, '"0xff"'),
        "o": (None, '"017"'),
        "s": (None, '"1:30"'),
        "v": (None, '"abc"'),
        "b": (None, '"eA=="'),
        "z": (None, "null"),
        "big": (None, "123456789012345678901234567890"),
    }
    assert all(json.loads(text or "") is not ... for _, text in found.values())


def test_date_and_the_text_of_a_date_are_not_the_same() -> None:
    assert changed("a.yaml", "d: 2024-01-01", "d: '2024-01-01'") == {"d": ('"2024-01-01"', '"2024-01-01"')}


def test_text_that_cannot_be_shown_is_escaped() -> None:
    found = changed("a.json", "{}", '{"a": "\\ud800 \\u009b \\u202e \\n", "\\ud800": 1}')
    assert found == {"a": (None, '"\\ud800 \\u009b \\u202e \\n"'), '"\\ud800"': (None, "1")}


def test_secret_is_hidden_and_its_change_is_not() -> None:
    old = {
        "db": {"password": "canary1", "port": 1},
        "secrets": {"a": ["canary2"]},
        "u": "x://me:canary3@h",
        "e": ["A_TOKEN=canary4"],
    }
    new = json.loads(json.dumps(old).replace("canary", "canary9"))
    found = changed("a.json", json.dumps(old), json.dumps(new))
    assert found == {
        "db.password": ('"***"', '"***"'),
        "e[0]": ('"A_TOKEN=***"', '"A_TOKEN=***"'),
        "secrets.a[0]": ('"***"', '"***"'),
        "u": ('"x://me:***@h"', '"x://me:***@h"'),
    }


def test_secret_that_only_its_neighbours_give_away_is_hidden() -> None:
    assert changed(
        "a.yaml", "env: []", "env:\n- value: canary\n  name: DB_PASSWORD\n- {name: PORT, value: 1}"
    ) == {
        "env": ("[]", None),
        "env[0].name": (None, '"DB_PASSWORD"'),
        "env[0].value": (None, '"***"'),
        "env[1].name": (None, '"PORT"'),
        "env[1].value": (None, "1"),
    }
    assert changed("a.yaml", "kind: Secret\ndata: {a: eHg=}", "kind: Secret\ndata: {a: eHk=}") == {
        "data.a": ('"***"', '"***"')
    }
    assert changed("a.json", '{"kind": "Secret", "stringData": {"a": 1}}', '{"kind": "Secret"}') == {
        "stringData.a": ('"***"', None)
    }


@pytest.mark.parametrize(
    "line",
    [
        '<add key="DB_PASSWORD" value="canary"/>',
        '<property name="password">canary</property>',
        "<property><name>password</name><value>canary</value></property>",
        "<key>port</key><string>1</string><key>Password</key><string>canary</string>",
    ],
)
def test_secret_that_xml_names_beside_it_is_hidden(line: str) -> None:
    found = changed("a.xml", f"<c>{line}</c>", f"<c>{line.replace('canary', 'canary2')}</c>")
    assert found is not None
    assert list(found.values()) == [('"***"', '"***"')]


def test_root_says_which_names_are_secret() -> None:
    names = SecretNames(hide=("*_pin",), show=("token_bucket",))
    found = settings_changed(
        b"a.json", b'{"door_pin": 1, "token_bucket": 1}', b'{"door_pin": 2, "token_bucket": 2}', names=names
    )
    assert found is not None
    assert [(one.key, one.old, one.new) for one in found] == [
        ("door_pin", '"***"', '"***"'),
        ("token_bucket", "1", "2"),
    ]


def test_changes_are_ordered_and_cut() -> None:
    found = settings_changed(b"a.json", b"{}", json.dumps({"l": list(range(3000)), "a": 1}).encode())
    assert found is not None
    assert len(found) == LISTED_SETTINGS
    assert [change.key for change in found[:4]] == ["a", "l[0]", "l[1]", "l[2]"]
    assert found[-1].key == "l[998]"


def test_long_values_and_keys_are_cut() -> None:
    found = settings_changed(
        b"a.json", b"{}", json.dumps({"a": "x" * 100_000, "k" * 100_000: 1, "n": 10**4000}).encode()
    )
    assert found is not None
    assert all(len(change.key) < 1100 and len(change.new or "") < 1100 for change in found)
    assert all(json.loads(change.new or "") for change in found)


def _bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.yaml", _bomb()),
        ("a.yaml", "&a [*a, *a]"),
        ("a.yaml", "&a {b: *a, c: *a}"),
        ("a.yaml", "[" * MEBI),
        ("a.yaml", "- " * (MEBI // 2)),
        ("a.yaml", "{a: " * (MEBI // 4)),
        ("a.yaml", "? " * (MEBI // 2)),
        ("a.yaml", "[" + "1," * (MEBI // 2 - 1) + "]"),
        ("a.json", "[" * MEBI),
        ("a.json", '{"a":' * (MEBI // 5)),
        ("a.json", "[" * 500 + "]" * 500),
        ("a.json", "[" + "1," * (MEBI // 2 - 2) + "1]"),
        ("a.toml", "a = " + "[" * 200_000),
        ("a.toml", "a." * 100_000 + "a = 1"),
        ("a.toml", "a = " + "9" * 200_000),
        ("a.json", " " * MEBI + "{}"),
        ("a.ini", "[" * 200_000),
        (".env", "A='\n" * (MEBI // 4)),
    ],
)
def test_hostile_file_is_given_up_on_soon(path: str, content: str) -> None:
    """Quadratic or worse, or a crash of the interpreter, if it were read carelessly."""
    assert changed(path, "", content) is None


KEYS = st.text('abz09_-/.[]" \u00e9\\', max_size=3).filter(lambda key: not USUAL.hides(key))
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab \u00e9\"\\\n'#", max_size=5)
)
SIMPLE = st.none() | st.booleans() | st.integers() | st.text("ab \u00e9\"\\\n'#", max_size=5)
NESTED = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, NESTED, max_size=4)
LISTS = st.dictionaries(
    KEYS, st.lists(SIMPLE, max_size=3) | st.dictionaries(KEYS, SIMPLE, max_size=3), max_size=4
)

Way = tuple[str | int, ...]
PART = re.compile(r'\[(\d+)\]|("(?:[^"\\]|\\.)*")|([^.\[\]"]+)')


def flat(node: Any, way: Way = ()) -> dict[Way, str]:
    if not isinstance(node, dict | list) or not node:
        return {way: json.dumps(node, ensure_ascii=False)} if way else {}
    items = node.items() if isinstance(node, dict) else enumerate(node)
    return {deeper: text for part, child in items for deeper, text in flat(child, (*way, part)).items()}


def parse_key(key: str) -> Way:
    parts: list[str | int] = []
    while key:
        match = PART.match(key.removeprefix("."))
        assert match is not None, key
        index, quoted, bare = match.groups()
        parts.append(int(index) if index else json.loads(quoted) if quoted else bare)
        key = key.removeprefix(".")[match.end() :]
    return tuple(parts)


def apply(path: bytes, old: Any, new: Any) -> dict[Way, str]:
    """Change `old` by what is told of the difference to `new`."""
    found = settings_changed(path, *(json.dumps(node, ensure_ascii=False).encode() for node in (old, new)))
    assert found is not None
    result = flat(old)
    for change in found:
        way = parse_key(change.key)
        assert result.get(way) == change.old
        if change.new is None:
            del result[way]
        else:
            result[way] = change.new
    return result


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_what_is_told_makes_the_old_settings_the_new_ones(old: Any, new: Any) -> None:
    assert apply(b"a.json", old, new) == flat(new)


@settings(max_examples=100, deadline=None)
@given(LISTS, LISTS)
def test_yaml_tells_what_json_tells(old: Any, new: Any) -> None:
    texts = [json.dumps(node, ensure_ascii=False) for node in (old, new)]
    assert changed("a.yaml", *texts) == changed("a.json", *texts)


def as_ini(tables: Tables) -> str:
    return "".join(
        f"# c\n[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in t.items()) for name, t in tables.items()
    )


def as_xml(tables: Tables) -> str:
    inner = "".join(
        f"<{name}>" + "".join(f"<{k}>{v}</{k}><!-- c -->" for k, v in t.items()) + f"</{name}>\n"
        for name, t in tables.items()
    )
    return f"<root>{inner}</root>"


def as_pairs(tables: Tables) -> str:
    return "".join(f"# c\n{name}_{k}={v}\n" for name, t in tables.items() for k, v in t.items())


Tables = dict[str, dict[str, str]]
TABLES: st.SearchStrategy[Tables] = st.dictionaries(
    st.sampled_from(["web", "db", "log"]),
    st.dictionaries(
        st.sampled_from(["a", "bb", "cfg"]), st.from_regex("[a-z0-9]{1,4}", fullmatch=True), min_size=1
    ),
    min_size=1,
)
WRITTEN = {
    "a.toml": lambda tables: re.sub("= (.*)", r'= "\1"', as_ini(tables)),
    "a.ini": as_ini,
    "a.service": as_ini,
    "a.xml": as_xml,
    "a.properties": as_pairs,
    ".env": as_pairs,
}


@pytest.mark.parametrize("path", WRITTEN)
@settings(max_examples=15, deadline=None)
@given(TABLES, TABLES, st.randoms())
def test_what_is_told_of_any_format_makes_the_old_settings_the_new_ones(
    path: str, old: Tables, new: Tables, dice: random.Random
) -> None:
    def written(tables: Tables) -> str:
        names = dice.sample(list(tables), len(tables))
        return WRITTEN[path](
            {name: dict(dice.sample(list(tables[name].items()), len(tables[name]))) for name in names}
        )

    was, now = (dict(changed(path, None, written(tables)) or {}) for tables in (old, new))
    assert len(was) == sum(map(len, old.values()))
    result = {key: value for key, (_, value) in was.items()}
    for key, (before, after) in (changed(path, written(old), written(new)) or {}).items():
        assert result.pop(key, None) == before
        if after is not None:
            result[key] = after
    assert result == {key: value for key, (_, value) in now.items()}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        ["a.json", "a.yaml", "a.toml", "a.ini", "a.conf", ".env", "a.xml", "a.properties", "a.service"]
    ),
    st.binary(max_size=60),
    st.binary(max_size=60),
)
def test_any_bytes_are_survived(path: str, old: bytes, new: bytes) -> None:
    for change in settings_changed(path.encode(), old, new) or ():
        assert all(text is None or json.loads(text) is not ... for text in (change.old, change.new))
        json.dumps([change.key, change.old, change.new], ensure_ascii=False).encode()
