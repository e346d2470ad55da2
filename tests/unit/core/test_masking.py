"""A8, and promise 9: what looks like a secret is not shown."""

from __future__ import annotations

import pytest

from headgated.core.masking import USUAL, SecretNames, mask_lines, mask_text


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        "db_password",
        "dbPassword",
        "passwd",
        "DB_PASS",
        "smtpPass",
        "pass",
        "passphrase",
        "pwd",
        "secret",
        "clientSecret",
        "secrets",
        "token",
        "access_token",
        "authToken",
        "_authToken",
        "api_key",
        "apikey",
        "API-KEY",
        "api.key",
        "private_key",
        "privateKey",
        "ssh.private-key",
        "credentials",
        "aws_access_key_id",
        "AWS_SECRET_ACCESS_KEY",
        "Authorization",
        "signing_key",
        "encryptionKey",
    ],
)
def test_name_of_a_secret_is_known(name: str) -> None:
    assert USUAL.hides(name)


@pytest.mark.parametrize(
    "name",
    [
        "user",
        "host",
        "port",
        "key",
        "keys",
        "public_key",
        "bypass",
        "passthrough",
        "compass",
        "passenger",
        "path",
        "author",
        "name",
        "value",
    ],
)
def test_name_of_no_secret_is_not_taken_for_one(name: str) -> None:
    assert not USUAL.hides(name)


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("password: hunter2", "password: ***"),
        ("  - password:   hunter2, or not # comment", "  - password:   ***"),
        ("password=hunter2", "password=***"),
        ("export DB_PASSWORD='x y'", "export DB_PASSWORD=***"),
        ('password = "hunter2"', "password = ***"),
        ('  "password": "hunter2",', '  "password": ***'),
        ('{"user": "me", "password": "x", "port": 1}', '{"user": "me", "password": ***'),
        ("$config['db_password'] = 'x';", "$config['db_password'] = ***"),
        ("- DB_PASSWORD=x", "- DB_PASSWORD=***"),
        ("run --token=abc now", "run --token=***"),
        ("Authorization: Bearer abc", "Authorization: ***"),
        ("url = postgres://me:hunter2@db:5432/x", "url = postgres://me:***@db:5432/x"),
        ("http://:hunter2@h/ and https://a:b@c/", "http://:***@h/ and https://a:***@c/"),
        ("http://localhost:8080/a@b", "http://localhost:8080/a@b"),
        ("user: me", "user: me"),
        ("tokens per day", "tokens per day"),
        ("<password>hunter2</password>", "<password>***</password>"),
        ("<a><db:secret x='1'>b</db:secret><c>d</c></a>", "<a><db:secret x='1'>***</db:secret><c>d</c></a>"),
        ('<user password="x" name="y"/>', "<user password=***"),
        ('<add key="DB_PASSWORD" value="x"/>', '<add key="DB_PASSWORD" value=***'),
        ('<property name="password">x</property>', '<property name="password">***</property>'),
        (
            "<p><name>password</name><value>x</value></p>",
            "<p><name>password</name><value>***</value></p>",
        ),
        ("<secret/><a>b</a>", "<secret/><a>b</a>"),
        ("usage: login <user> <password>", "usage: login <user> <password>"),
        ("the password is hunter2", "the password is hunter2"),
        ("", ""),
    ],
)
def test_value_of_a_secret_is_hidden_in_a_line(line: str, masked: str) -> None:
    assert mask_text(line) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            "tls:\n  private_key: |\n    a: b\n    c\n\n    d\n  port: 1",
            "tls:\n  private_key: |\n    ***\n    ***\n\n    ***\n  port: 1",
        ),
        ("secrets:\n  db: x\n  list:\n  - y\nuser: me", "secrets:\n  ***\n  ***\n  - ***\nuser: me"),
        ("secrets:\n- x\n- y\nuser: me", "secrets:\n- ***\n- ***\nuser: me"),
        ('"credentials": {\n  "user": "x"\n},\n"port": 1', '"credentials": {\n  ***\n},\n"port": 1'),
        ("password: !vault |\n  6162\n  63\nuser: me", "password: !vault |\n  ***\n  ***\nuser: me"),
        (
            "[db]\nuser = me\n[secrets] # c\na = b\nc=d\n[web]\ne = f",
            "[db]\nuser = me\n[secrets] # c\na = ***\nc=***\n[web]\ne = f",
        ),
        (
            "env:\n- name: DB_PASSWORD\n  value: x\n- name: USER\n  value: y",
            "env:\n- name: DB_PASSWORD\n  value: ***\n- name: USER\n  value: y",
        ),
        ("<token>\n  a\n  b\n</token>\n<c>d</c>", "<token>\n  ***\n  ***\n</token>\n<c>d</c>"),
        ("<password>a\nb</password><c>d</c>", "<password>***\n***</password><c>d</c>"),
        (
            "<name>a.password</name>\n<value>x</value>\n<value>y</value>",
            "<name>a.password</name>\n<value>***</value>\n<value>y</value>",
        ),
        ("usage: <password>\nuser: me", "usage: <password>\nuser: me"),
        ("env: [{name: A_TOKEN, value: x}]", "env: [{name: A_TOKEN, value: ***"),
        ("kind: Secret\ndata:\n  a: eHg=\nname: x", "kind: Secret\ndata:\n  ***\nname: x"),
        ("kind: ConfigMap\ndata:\n  a: eHg=", "kind: ConfigMap\ndata:\n  a: eHg="),
        (
            "x\n-----BEGIN RSA PRIVATE KEY-----\nMII\nabc\n-----END RSA PRIVATE KEY-----\ny",
            "x\n***\n***\n***\n***\ny",
        ),
        ('cert: "-----BEGIN PRIVATE KEY-----\\nMII\\n-----END PRIVATE KEY-----"\ny', 'cert: "***\ny'),
        (
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
        ),
    ],
)
def test_what_belongs_to_a_secret_over_several_lines_is_hidden(text: str, masked: str) -> None:
    assert mask_text(text) == masked


def test_key_and_value_without_a_sign_between_are_hidden_in_a_file_and_not_in_what_a_program_says() -> None:
    lines = ["db_password hunter2", "db.password  a b", "password is wrong", "port 80"]
    assert mask_lines(lines) == ["db_password ***", "db.password  ***", "password is wrong", "port 80"]
    assert mask_text("password missing") == "password missing"


def test_root_adds_names_and_takes_names_out() -> None:
    names = SecretNames(hide=("*PIN", "licence"), show=("token_*", "licence"))
    text = "door_pin: 1\nlicence=2\ntoken_bucket: 3\ntokens: 4\npins: 5\n- name: DOOR_PIN\n  value: 6\n[licence]\na=7"
    assert mask_text(text, names) == (
        "door_pin: ***\nlicence=***\ntoken_bucket: 3\ntokens: ***\npins: 5\n- name: DOOR_PIN\n  value: ***\n[licence]\na=***"
    )


def test_as_many_lines_come_back() -> None:
    lines = ["password: x", "", "a", "-----BEGIN PRIVATE KEY-----", "b"]
    assert len(mask_lines(lines)) == len(lines)


@pytest.mark.parametrize(
    "piece",
    [
        "a:",
        "key ",
        "://a:",
        "&!",
        "[",
        "- ",
        "-----BEGIN ",
        "-----BEGIN A PRIVATE KEY",
        " ",
        "a.-",
        "'",
        "kind: ",
        "<password>",
        "<password>a</password>",
        "<name>",
        "<a>",
        "<a name=",
        "<a name='password'",
    ],
)
def test_hard_input_takes_time_by_its_length(piece: str) -> None:
    for head in ("", "password: ", "kind"):
        mask_lines([head + piece * (300_000 // len(piece))])
