"""Where secrets come from: real files, real programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from headgated.core.commands import Command
from headgated.core.errors import DeploymentFailedError
from headgated.core.sealing import LONGEST
from headgated.effects.commands import CommandRunner
from headgated.effects.secret_values import secret_value


@pytest.fixture
def private(tmp_path: Path) -> Path:
    directory = tmp_path / "secrets"
    directory.mkdir(mode=0o700)
    return directory


def written(file: Path, content: bytes, mode: int = 0o600) -> Path:
    file.write_bytes(content)
    file.chmod(mode)
    return file


def value(
    reference: str,
    private: Path,
    environ: Mapping[str, str] | None = None,
    providers: Mapping[str, Command] | None = None,
) -> bytes:
    runner = CommandRunner(scoped=False)
    return secret_value(reference, (str(private),), providers or {}, runner, environ or {})


def refused(reference: str, private: Path, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(DeploymentFailedError) as caught:
        value(reference, private, environ)
    assert caught.value.reason == "SECRET_UNAVAILABLE"
    return f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"hunter2\n", b"hunter2"),
        (b"hunter2\r\n", b"hunter2"),
        (b"hunter2", b"hunter2"),
        (b"two\nlines\n\n", b"two\nlines\n"),
        (b" \xff\x00odd ", b" \xff\x00odd "),
    ],
)
def test_file_gives_its_content_without_the_last_line_end(
    private: Path, content: bytes, expected: bytes
) -> None:
    file = written(private / "db", content)
    assert value(f"file:{file}", private) == expected


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_file_that_others_may_read_or_write_is_refused(private: Path, mode: int) -> None:
    file = written(private / "db", b"canary-secret", mode)
    told = refused(f"file:{file}", private)
    assert "others may" in told
    assert "canary" not in told


@pytest.mark.root
def test_file_of_another_user_is_refused(private: Path) -> None:
    file = written(private / "db", b"canary-secret")
    os.chown(file, 12345, -1)
    assert "belongs to uid 12345" in refused(f"file:{file}", private)


def test_link_that_leads_out_of_what_is_allowed_is_refused(private: Path, tmp_path: Path) -> None:
    written(tmp_path / "shadow", b"canary-secret")
    (private / "db").symlink_to(tmp_path / "shadow")
    assert "outside of what" in refused(f"file:{private}/db", private)


def test_missing_file_and_directory_and_fifo_are_refused(private: Path) -> None:
    os.mkfifo(private / "fifo", 0o600)
    for name in ("nothing", "fifo"):
        refused(f"file:{private}/{name}", private)
    (private / "sub").mkdir()
    refused(f"file:{private}/sub", private)


@pytest.mark.parametrize("content", [b"", b"\n", b"abc\n", b"x" * (LONGEST + 1)])
def test_too_short_and_too_long_is_refused_without_telling_it(private: Path, content: bytes) -> None:
    file = written(private / "db", content)
    told = refused(f"file:{file}", private)
    assert "4 to 65536" in told
    assert "abc" not in told


def test_credential_is_read_where_systemd_put_it(private: Path) -> None:
    written(private / "db.password", b"hunter2", 0o400)
    assert value("credential:db.password", private, {"CREDENTIALS_DIRECTORY": str(private)}) == b"hunter2"


def test_missing_credential_says_what_the_unit_lacks(private: Path) -> None:
    assert "LoadCredential=db:" in refused("credential:db", private)
    assert "LoadCredential=db:" in refused(
        "credential:db", private, environ={"CREDENTIALS_DIRECTORY": str(private)}
    )


def test_variable_is_taken_as_it_is(private: Path) -> None:
    assert value("env:TOKEN", private, {"TOKEN": "hunter2\n"}) == b"hunter2\n"
    assert "no such variable" in refused("env:OTHER", private)


def provider(*argv: str, timeout: float = 10.0) -> dict[str, Command]:
    return {"vault": Command("vault", argv, timeout=timeout, output_limit=2 * LONGEST)}


def test_provider_gives_what_it_prints(private: Path) -> None:
    told = provider("sh", "-c", "echo to-the-side >&2; echo hunter2")
    assert value("command:vault", private, None, told) == b"hunter2"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("echo canary-secret; echo canary-secret >&2; exit 3", "exit code 3"),
        ("echo canary-secret; sleep 60", "killed after"),
        ("yes canary-secret | head -c 1000000", "more than"),
        ("true", "4 to 65536"),
    ],
)
def test_provider_that_fails_tells_why_and_nothing_that_it_said(
    private: Path, program: str, why: str
) -> None:
    with pytest.raises(DeploymentFailedError) as caught:
        value("command:vault", private, None, provider("sh", "-c", program, timeout=1.0))
    assert why in caught.value.message
    assert "canary" not in f"{caught.value.message} {caught.value.hint}"


def test_provider_that_is_gone_or_cannot_be_started_is_told(private: Path) -> None:
    assert "no [providers.vault]" in refused("command:vault", private)
    with pytest.raises(DeploymentFailedError, match="exit code 127"):
        value("command:vault", private, None, provider("/nowhere/vault"))
