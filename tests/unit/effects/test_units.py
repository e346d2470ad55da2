from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from headgated.core.errors import InvalidRequestError, RefusedError
from headgated.effects.units import MARK, Programs, install, system_files, user_files, vendor_files
from headgated.install import install_units

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    here = tmp_path / "venv"
    here.mkdir()
    for name in ("headgated", "headgate"):
        (here / name).touch(0o755)
    return Programs(here / "headgated", here / "headgate")


@pytest.mark.parametrize("places", [user_files, vendor_files, system_files])
def test_every_file_is_written_and_no_unit_names_another_installation(
    places: Callable[[Path], dict[Path, str]], tmp_path: Path
) -> None:
    daemon, client = (
        Path("/bin/true"),
        Path("/bin/false"),
    )  # Programs outside of /tmp, which the service cannot see.
    wanted = places(tmp_path / "to")
    written = install(wanted, Programs(daemon, client))
    assert sorted(written) == sorted(wanted)
    assert sorted(path for path in (tmp_path / "to").rglob("*") if path.is_file()) == sorted(wanted)
    for path in written:
        text = path.read_text()
        assert "/usr/bin/" not in text
        assert text.startswith(MARK)
        assert path.stat().st_mode & 0o777 == 0o644
        if path.name.endswith(".service"):
            assert f"\nExecStart={daemon} " in text or f"\nExecStart={daemon}\n" in text
            assert f"\nExecReload={client} " in text


def test_every_file_in_systemd_is_installed_somewhere(tmp_path: Path) -> None:
    placed = {*system_files(tmp_path).values(), *user_files(tmp_path).values()}
    there = {
        str(path.relative_to(REPOSITORY / "systemd"))
        for path in (REPOSITORY / "systemd").rglob("*")
        if path.is_file() and path.parent.name != "examples" and path.name != "README.md"
    }
    assert placed == there


def test_installing_again_updates_units_and_keeps_the_configuration(
    tmp_path: Path, programs: Programs
) -> None:
    wanted = user_files(tmp_path / "to")
    install(wanted, programs)
    config = tmp_path / "to/headgate/headgated.toml"
    config.write_text("# mine\n")
    moved = programs.daemon.with_name("elsewhere")
    moved.touch(0o755)
    install(wanted, Programs(moved, programs.client))
    assert config.read_text() == "# mine\n"
    assert f"ExecStart={moved} " in (tmp_path / "to/systemd/user/headgated.service").read_text()


def test_programs_in_tmp_are_refused_for_the_machine(tmp_path: Path) -> None:
    for name in ("headgated", "headgate"):
        (tmp_path / name).touch(0o755)
    if not str(tmp_path).startswith("/tmp/"):
        pytest.skip("the tests' own directory is elsewhere")
    with pytest.raises(InvalidRequestError, match="the service has its own of"):
        install(system_files(tmp_path / "to"), Programs(tmp_path / "headgated", tmp_path / "headgate"))


def test_files_of_others_are_all_named_and_nothing_is_written(tmp_path: Path, programs: Programs) -> None:
    wanted = user_files(tmp_path / "to")
    units = tmp_path / "to/systemd/user"
    units.mkdir(parents=True)
    for name in ("headgated.service", "headgated.socket"):
        (units / name).write_text("[Unit]\n")
    with pytest.raises(RefusedError) as refused:
        install(wanted, programs)
    assert sorted(refused.value.paths) == [str(units / "headgated.service"), str(units / "headgated.socket")]
    assert not (tmp_path / "to/headgate").exists()


def test_programs_that_the_service_could_not_start_are_refused(tmp_path: Path, programs: Programs) -> None:
    odd = tmp_path / "with blank"
    odd.touch(0o755)
    with pytest.raises(InvalidRequestError) as refused:
        install(user_files(tmp_path / "to"), Programs(tmp_path / "missing", odd))
    assert [fault.field for fault in refused.value.faults] == [str(tmp_path / "missing"), str(odd)]
    assert not (tmp_path / "to").exists()


def test_percent_signs_are_escaped_as_systemd_wants_it(tmp_path: Path, programs: Programs) -> None:
    odd = tmp_path / "100%"
    odd.touch(0o755)
    install(user_files(tmp_path / "to"), Programs(odd, programs.client))
    assert f"ExecStart={tmp_path}/100%% " in (tmp_path / "to/systemd/user/headgated.service").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs the Debian package systemd")
def test_installed_user_units_are_good_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert install_units(["--user"]) == 0
    units = tmp_path / "systemd/user"
    told = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--user",
            "--man=no",
            units / "headgated.service",
            units / "headgated.socket",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in told.stderr.splitlines() if "headgate" in line]
    assert (told.returncode, said) == (0, []), told.stderr


def test_command_line_says_what_it_wrote_and_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert install_units(["--user"]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/systemd/user/headgated.socket\n" in said
    assert "systemctl --user enable --now" in said
