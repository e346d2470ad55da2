"""References to secrets: which are well-formed, and which root allows."""

from __future__ import annotations

import re

import pytest

from headgated.core.secret_references import SecretRules, reference_faults

RULES = SecretRules(("/etc/headgate/secrets", "/srv/secrets/"), ("TOKEN",), {"vault"})


@pytest.mark.parametrize(
    "reference",
    [
        "credential:db.password",
        "file:/etc/headgate/secrets/db",
        "file:/srv/secrets/a/b",
        "env:TOKEN",
        "command:vault",
    ],
)
def test_reference_that_root_allows_is_taken(reference: str) -> None:
    assert reference_faults({"A": reference}, RULES) == []


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("hunter2-in-clear", "must be a reference"),
        ("", "must be a reference"),
        ("vault:x", "must be a reference"),
        ("credential:../x", "takes the name"),
        ("credential:..", "takes the name"),
        ("credential:", "takes the name"),
        ("file:relative", "absolute"),
        ("file:/etc/headgate/secrets/../../shadow", "absolute"),
        ("file:/etc/shadow", r"\[secrets\] files"),
        ("file:/etc/headgate/secrets", r"\[secrets\] files"),
        ("file:/etc/headgate/secrets-of-others/x", r"\[secrets\] files"),
        ("env:PATH", r"\[secrets\] environment"),
        ("env:not a name", "takes the name"),
        ("command:sops", r"\[providers.sops\]"),
    ],
)
def test_reference_that_cannot_be_is_refused_with_the_reason(reference: str, why: str) -> None:
    (fault,) = reference_faults({"A": reference}, RULES)
    assert fault.field == "secrets.A"
    assert re.search(why, fault.message)


def test_what_may_be_a_value_is_not_repeated() -> None:
    (fault,) = reference_faults({"A": "hunter2-in-clear"}, RULES)
    assert "hunter2" not in fault.message


def test_all_faults_are_told() -> None:
    assert len(reference_faults({"A": "x", "B": "env:PATH", "C": "env:TOKEN"}, RULES)) == 2
