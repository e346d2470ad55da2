"""A small write leaves the old file or the new one, whole (T7, T12)."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgated.core.errors import UnavailableError
from headgated.effects.durable import is_temporary, remove_durable, sweep_temporaries, write_durable


def test_write_makes_and_replaces(tmp_path: Path) -> None:
    write_durable(tmp_path, "record.json", b"one")
    write_durable(tmp_path, "record.json", b"two" * 100_000)
    assert (tmp_path / "record.json").read_bytes() == b"two" * 100_000
    assert os.listdir(tmp_path) == ["record.json"]


def test_file_gets_its_name_after_what_it_waits_for(tmp_path: Path) -> None:
    """Its bytes are there by then; where it waits in vain, nothing is left."""
    found: list[bytes] = []

    def wait() -> None:
        found.extend(path.read_bytes() for path in tmp_path.iterdir())
        assert not (tmp_path / "record.json").exists()
        if len(found) > 1:
            raise UnavailableError("cannot write the line", reason="AUDIT_NOT_WRITABLE", hint="")

    write_durable(tmp_path, "record.json", b"one", replace=False, after=wait)
    assert found == [b"one"]
    (tmp_path / "record.json").rename(tmp_path / "other.json")
    with pytest.raises(UnavailableError) as caught:
        write_durable(tmp_path, "record.json", b"two", replace=False, after=wait)
    assert caught.value.reason == "AUDIT_NOT_WRITABLE"
    assert os.listdir(tmp_path) == ["other.json"]


def test_write_that_may_not_replace_leaves_what_is_there(tmp_path: Path) -> None:
    write_durable(tmp_path, "record.json", b"one", replace=False)
    with pytest.raises(FileExistsError):
        write_durable(tmp_path, "record.json", b"two", replace=False)
    assert (tmp_path / "record.json").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["record.json"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_mode_is_what_was_asked_for_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_durable(tmp_path, "secret", b"x")
        write_durable(tmp_path, "open", b"x", mode=0o644)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("secret", "open")]
    assert modes == [0o600, 0o644]


def test_write_to_a_symlink_replaces_the_symlink(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / "record.json").symlink_to("elsewhere")
    write_durable(tmp_path, "record.json", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not (tmp_path / "record.json").is_symlink()


def test_write_that_is_impossible_says_where_and_why(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        write_durable(tmp_path / "missing", "record.json", b"x")
    assert caught.value.reason == "STATE_NOT_WRITABLE"
    assert str(tmp_path / "missing" / "record.json") in caught.value.message
    assert "No such file" in caught.value.message
    assert caught.value.hint


def test_write_over_a_directory_leaves_no_temporary(tmp_path: Path) -> None:
    (tmp_path / "record.json").mkdir()
    with pytest.raises(UnavailableError):
        write_durable(tmp_path, "record.json", b"x")
    assert os.listdir(tmp_path) == ["record.json"]


def test_remove_may_be_repeated(tmp_path: Path) -> None:
    write_durable(tmp_path, "record.json", b"x")
    remove_durable(tmp_path / "record.json")
    remove_durable(tmp_path / "record.json")
    assert os.listdir(tmp_path) == []


def test_temporaries_of_a_kill_are_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in (".headgate-0123456789ab.tmp", ".headgate-x", "record.json", ".tmp"):
        (tmp_path / name).touch()
    sweep_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".headgate-x", ".tmp", "record.json"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("replace", [True, False])
def test_content_then_name_are_synced_in_that_order(tmp_path: Path, replace: bool) -> None:  # noqa: FBT001
    trace = traced(tmp_path, f"write_durable(path, 'record.json', b'x' * 70000, replace={replace})")
    assert re.fullmatch("w+sns", "".join(trace))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("call", "fault"), [("write", "ENOSPC"), ("fsync", "EIO"), ("rename", "EROFS")])
def test_every_fault_leaves_the_old_file(tmp_path: Path, call: str, fault: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    write_durable(state, "record.json", b"old")
    program = f"""
from pathlib import Path
from headgated.core.errors import UnavailableError
from headgated.effects.durable import write_durable
try:
    write_durable(Path({str(state)!r}), "record.json", b"new")
except UnavailableError as error:
    assert error.reason == "STATE_NOT_WRITABLE", error
else:
    raise AssertionError("the fault was not told")
"""
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={fault}:when=1"]
    command = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), *inject]
    ran = subprocess.run([*command, sys.executable, "-B", "-c", program], check=False, capture_output=True)
    trace = (tmp_path / "trace").read_text()
    if "INJECTED" not in trace:
        pytest.skip("strace may not inject here")
    assert ran.returncode == 0, ran.stderr
    assert (state / "record.json").read_bytes() == b"old"
    assert os.listdir(state) == ["record.json"]


def traced(tmp_path: Path, call: str) -> Iterator[str]:
    """Yield w for each write of content, s for each sync, n for each change of a name."""
    state = tmp_path / "state"
    state.mkdir()
    program = f"""
import os
from pathlib import Path
from headgated.effects.durable import write_durable
path = Path({str(state)!r})
os.access("/begin", os.F_OK)
{call}
os.access("/end", os.F_OK)
"""
    report = tmp_path / "trace"
    kinds = "trace=access,write,fsync,rename,link,linkat,renameat,renameat2"
    command = ["strace", "-f", "-qq", "-e", kinds, "-o", str(report)]
    if subprocess.run([*command, sys.executable, "-c", program], check=False).returncode:
        pytest.skip("strace may not trace here")
    trace = report.read_text()
    for line in trace[trace.index("/begin") : trace.index("/end")].splitlines()[1:]:
        name = line.split(maxsplit=1)[1].partition("(")[0]
        if name == "write":
            yield "w"
        elif name == "fsync":
            yield "s"
        elif name != "access":
            yield "n"


def test_temporary_is_known_by_its_name() -> None:
    assert is_temporary(".headgate-0123456789ab.tmp")
    assert not is_temporary("record.json")
