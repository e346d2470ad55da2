"""Environments on disk. One bad record harms no other (A6)."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.effects.recorded import environment

from headgated.core.errors import RecordError, UnavailableError
from headgated.effects.records import EnvironmentStore, encode_environment


def test_environment_is_saved_changed_and_deleted(tmp_path: Path) -> None:
    store = EnvironmentStore(tmp_path)
    store.save(environment("prod"))
    store.save(environment("dev"))
    store.save(replace(environment("prod"), generation=2))
    assert EnvironmentStore(tmp_path).load() == (
        [environment("dev"), replace(environment("prod"), generation=2)],
        [],
    )
    assert store.taken("prod")
    store.delete("prod")
    store.delete("prod")
    assert not store.taken("prod")
    assert EnvironmentStore(tmp_path).load() == ([environment("dev")], [])


def test_records_are_nobody_elses_to_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        EnvironmentStore(tmp_path).save(environment())
    finally:
        os.umask(before)
    directory = tmp_path / "environments"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "prod.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\0" * 300,
        b"[]",
        b'{"schema_version": 1}',
        b"\xff\xfe",
        encode_environment(environment())[:200],
    ],
)
def test_damaged_record_is_set_aside_with_every_byte(tmp_path: Path, content: bytes) -> None:
    store = EnvironmentStore(tmp_path)
    store.save(environment("dev"))
    path = tmp_path / "environments" / "prod.json"
    path.write_bytes(content)
    environments, (aside,) = store.load()
    assert environments == [environment("dev")]
    assert aside.path == path
    assert aside.moved_to == path.with_name("prod.json.corrupt-1")
    assert aside.moved_to.read_bytes() == content
    assert aside.why
    assert store.load() == ([environment("dev")], [])
    store.save(environment("prod"))
    assert store.load() == ([environment("dev"), environment("prod")], [])
    path.write_bytes(content)
    assert store.load()[1][0].moved_to == path.with_name("prod.json.corrupt-2")


def test_record_of_a_newer_schema_is_left_alone_and_never_written_over(tmp_path: Path) -> None:
    store = EnvironmentStore(tmp_path)
    path = tmp_path / "environments" / "prod.json"
    path.write_bytes(b'{"schema_version": 7}')
    for _ in range(2):
        environments, (aside,) = store.load()
        assert environments == []
        assert (aside.path, aside.moved_to) == (path, None)
        assert "version 7" in aside.why
    assert store.taken("prod")
    with pytest.raises(RecordError, match="version 7"):
        store.save(environment("prod"))
    assert path.read_bytes() == b'{"schema_version": 7}'


def test_record_under_another_name_is_told_and_left_alone(tmp_path: Path) -> None:
    store = EnvironmentStore(tmp_path)
    store.save(environment("prod"))
    (tmp_path / "environments" / "prod.json").rename(tmp_path / "environments" / "test.json")
    environments, (aside,) = store.load()
    assert environments == []
    assert aside.moved_to is None
    assert "'prod'" in aside.why


def test_what_is_no_file_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    store = EnvironmentStore(tmp_path)
    store.save(environment("good"))
    directory = tmp_path / "environments"
    os.mkfifo(directory / "fifo.json")
    (directory / "folder.json").mkdir()
    (directory / "link.json").symlink_to("good.json")
    environments, aside = store.load()
    assert environments == [environment("good")]
    assert [each.path.name for each in aside] == ["fifo.json", "folder.json", "link.json"]
    assert {each.moved_to for each in aside} == {None}


def test_files_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    store = EnvironmentStore(tmp_path)
    for name in ("README", "UPPER.json", ".hidden.json", "prod.json.corrupt-1", "prod.json~"):
        (tmp_path / "environments" / name).write_bytes(b"?")
    assert store.load() == ([], [])


def test_temporaries_of_a_kill_are_removed(tmp_path: Path) -> None:
    store = EnvironmentStore(tmp_path)
    (tmp_path / "environments" / ".headgate-0123456789ab.tmp").write_bytes(b"half")
    store.load()
    assert os.listdir(tmp_path / "environments") == []


def test_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "environments").touch()
    with pytest.raises(UnavailableError) as caught:
        EnvironmentStore(tmp_path)
    assert caught.value.reason == "STATE_NOT_WRITABLE"
