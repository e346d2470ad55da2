"""Secrets in memory: when they are looked up, and what happens when they cannot be."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from headgated.core.commands import Command
from headgated.core.environment import Environment, EnvironmentType
from headgated.core.errors import DeploymentFailedError, RecordError
from headgated.effects.commands import CommandRunner
from headgated.effects.known_secrets import hide
from headgated.engine.ledger import utc_now
from headgated.engine.vault import SecretMeans, Vault
from headgated.engine.views import Problem


class Place:
    """A vault with one environment, whose secret is in a file."""

    def __init__(self, directory: Path, refresh: float = 3600.0) -> None:
        self.directory, self.file = directory, directory / "db"
        self.say("value-one")
        self.problems: list[Problem] = []
        self.means = SecretMeans((str(directory),), (), refresh, {})
        self.vault = self.open()

    def open(self) -> Vault:
        return Vault(self.directory, lambda: self.means, CommandRunner(scoped=False), self.problems)

    def say(self, value: str) -> None:
        self.file.write_text(value)
        self.file.chmod(0o600)

    def environment(self, **secrets: str) -> Environment:
        now = utc_now()
        references = secrets or {"DB": f"file:{self.file}"}
        return Environment("web", EnvironmentType.TESTING, "/srv/web", now, now, secrets=references)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def opened(vault: Vault, environment: Environment) -> bytes:
    sealing = vault.sealing(environment)
    return sealing.open(sealing.slots()["DB"].encode())


def test_secret_is_the_same_object_until_it_changes(place: Place) -> None:
    environment = place.environment()
    first = place.vault.sealing(environment)
    assert opened(place.vault, environment) == b"value-one"
    place.vault.ask_anew("web")
    assert place.vault.sealing(environment) is first


def test_changed_secret_is_seen_when_it_is_due_or_asked_for_anew(tmp_path: Path) -> None:
    place = Place(tmp_path)
    environment = place.environment()
    assert opened(place.vault, environment) == b"value-one"
    place.say("value-two")
    assert opened(place.vault, environment) == b"value-one"
    place.vault.ask_anew("web")
    assert opened(place.vault, environment) == b"value-two"
    place.means = SecretMeans(place.means.files, (), 0.0, {})
    place.vault.ask_anew("web")
    place.vault.sealing(environment)
    place.say("value-three")
    assert opened(place.vault, environment) == b"value-three"


def test_another_reference_is_another_secret_at_once(place: Place) -> None:
    assert opened(place.vault, place.environment()) == b"value-one"
    other = place.directory / "other"
    other.write_text("value-two")
    other.chmod(0o600)
    assert opened(place.vault, place.environment(DB=f"file:{other}")) == b"value-two"


def test_secret_that_was_had_stays_while_it_cannot_be_had_and_that_is_told(place: Place) -> None:
    environment = place.environment()
    first = place.vault.sealing(environment)
    place.file.unlink()
    for _ in range(2):
        place.vault.ask_anew("web")
        assert place.vault.sealing(environment) is first
    (problem,) = place.problems
    assert problem.reason == "SECRET_STALE"
    assert "DB stays what it was" in problem.message
    assert "value-one" not in problem.message
    place.say("value-two")
    place.vault.ask_anew("web")
    assert opened(place.vault, environment) == b"value-two"
    assert place.problems == []


def test_deleted_environment_takes_its_problems_along(place: Place) -> None:
    environment = place.environment()
    place.vault.sealing(environment)
    place.file.unlink()
    place.vault.ask_anew("web")
    place.vault.sealing(environment)
    place.vault.forget("web")
    assert place.problems == []
    with pytest.raises(DeploymentFailedError):
        place.vault.sealing(environment)


def test_secret_that_never_was_had_is_an_error(place: Place) -> None:
    place.file.unlink()
    with pytest.raises(DeploymentFailedError) as caught:
        place.vault.sealing(place.environment())
    assert caught.value.reason == "SECRET_UNAVAILABLE"


def test_reference_that_root_does_not_allow_any_more_is_an_error_at_once(place: Place) -> None:
    environment = place.environment()
    place.vault.sealing(environment)
    place.means = SecretMeans(("/elsewhere",), (), 0.0, {})
    place.vault.ask_anew("web")
    with pytest.raises(DeploymentFailedError, match=r"secrets\.DB"):
        place.vault.sealing(environment)


def test_key_is_made_once_for_nobody_else_to_read_and_found_again(place: Place) -> None:
    assert not (place.directory / "secrets.key").exists()
    assert place.vault.mac(bytes(32)) == b""
    place.vault.sealing(place.environment())
    key = place.directory / "secrets.key"
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_size) == (0o600, 32)
    again = place.open()
    assert again.mac(bytes(32)) == place.vault.mac(bytes(32)) != b""
    assert again.sealing(place.environment()).version == place.vault.sealing(place.environment()).version


def test_damaged_key_is_told_and_not_replaced(place: Place) -> None:
    (place.directory / "secrets.key").write_bytes(b"short")
    with pytest.raises(RecordError, match=r"secrets\.key"):
        place.open()
    assert (place.directory / "secrets.key").read_bytes() == b"short"


def test_every_value_is_hidden_from_then_on_also_when_it_has_changed(place: Place) -> None:
    place.say("vault-canary-one")
    place.vault.sealing(place.environment())
    place.say("vault-canary-two")
    place.vault.ask_anew("web")
    place.vault.sealing(place.environment())
    assert hide("vault-canary-one vault-canary-two") == "*** ***"


def test_provider_is_asked_no_more_often_than_said(place: Place) -> None:
    count = place.directory / "count"
    argv = ("sh", "-c", f"echo x >> {count}; echo value-one")
    place.means = SecretMeans((), (), 3600.0, {"vault": Command("vault", argv)})
    environment = place.environment(DB="command:vault")
    for _ in range(5):
        assert opened(place.vault, environment) == b"value-one"
    assert count.read_text() == "x\n"
