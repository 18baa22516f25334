"""Errors are reported once, with a remedy, and never as a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError
from headcount_cli.aws import reason
from headcount_cli.errors import CommandError, sentence
from headcount_cli.target import Stack

from lab.harness.world import World
from tests.cli.conftest import Run, run_in, served

_NOTHING = {  # settings of this machine
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_PROFILE": None,
    "AWS_DEFAULT_PROFILE": None,
    "AWS_DEFAULT_REGION": None,
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_SESSION_TOKEN": None,
}
_ON_AWS = [
    ("doctor", "--stack", "prod"),
    ("spaces", "--stack", "prod"),
    ("cost", "--stack", "prod"),
    ("token", "--stack", "prod"),
]


def assert_reported_once(words: str) -> None:
    """No double full stop, no repeated sentence, no sentence without an end."""
    assert not re.search(r"[.:!?]\s*[.:]", words), words
    sentences = [one.strip().lower() for one in re.split(r"(?<=[.!?])\s+", words) if one.strip()]
    assert len(set(sentences)) == len(sentences), words
    assert words.rstrip().endswith((".", "?", "`")), words


def test_a_sentence_has_one_full_stop() -> None:
    for given in ("You must specify a region.", "You must specify a region", "A region.. "):
        assert sentence(given).removeprefix("You must specify a ").lower().endswith("region.")
        assert not sentence(given).endswith("..")
    assert sentence("Is it right?") == "Is it right?"
    assert sentence("") == ""


# ------------------------------------------------------------------------------------ AWS's library


@pytest.mark.parametrize("command", _ON_AWS, ids=lambda one: str(one[0]))
@pytest.mark.parametrize(
    ("settings", "way_out"),
    [
        ({}, "--region"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "aws configure"),
        ({"AWS_DEFAULT_REGION": "no where"}, "eu-central-1"),
        ({"AWS_PROFILE": "nope"}, "aws configure list-profiles"),
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "x"}, "aws configure"),
    ],
)
def test_missing_aws_settings_are_one_sentence_with_a_remedy(
    command: tuple[str, ...], settings: dict[str, str], way_out: str
) -> None:
    done = run_in({**_NOTHING, **settings}, *command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert way_out in done.stderr
    assert_reported_once(done.stderr)


def test_unreadable_aws_settings_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "config"
    broken.write_text("[default\nregion\n")
    done = run_in({**_NOTHING, "AWS_CONFIG_FILE": str(broken)}, "doctor", "--stack", "prod")
    assert done.exit_code == 1
    assert str(broken) in done.stderr


def answered(code: str, message: str = "No. Really.", operation: str = "GetThing") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.NoRegionError(), "--region"),
        (exceptions.NoCredentialsError(), "aws configure"),
        (exceptions.ProfileNotFound(profile="nope"), "'nope'"),
        (exceptions.SSOTokenLoadError(error_msg="expired"), "aws sso login"),
        (exceptions.UnauthorizedSSOTokenError(), "aws sso login"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="expired"), "aws sso login"),
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), "https://x"),
        (exceptions.ReadTimeoutError(endpoint_url="https://x"), "https://x"),
        (answered("ExpiredToken"), "Sign in again"),
        (answered("ExpiredTokenException"), "Sign in again"),
        (answered("UnrecognizedClientException"), "Sign in again"),
        (answered("AccessDenied", operation="DescribeStacks"), "DescribeStacks"),
        (answered("AccessDeniedException"), "GetThing"),
        (answered("Throttling", "Rate exceeded"), "Rate exceeded"),
        (answered("500", ""), "500"),
        (exceptions.UnknownServiceError(service_name="x", known_service_names="y"), "x"),
    ],
)
def test_a_refusal_of_aws_is_a_sentence(error: BotoCoreError | ClientError, words: str) -> None:
    message = reason(error)
    assert words in message
    assert_reported_once(f"The stack can't be asked: {message}")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ValidationError", "There is no stack prod in eu-west-1"),
        ("AccessDenied", "you are not allowed to call DescribeStacks"),
        ("Throttling", "AWS answers Throttling"),
    ],
)
def test_a_missing_stack_is_distinguished_from_a_forbidden_one(code: str, words: str) -> None:
    class Cloud:
        region_name = "eu-west-1"

        def client(self, *_: str, **__: Any) -> Any:
            return self

        def describe_stacks(self, **_: str) -> Any:
            raise answered(code, operation="DescribeStacks")

    session: Any = Cloud()
    with pytest.raises(CommandError) as refused:
        _ = Stack("prod", session).described
    assert words in str(refused.value)
    assert_reported_once(str(refused.value))


def test_a_refusal_does_not_repeat_the_caller_s_name() -> None:
    """AWS names the user and the account in it."""
    message = "User: arn:aws:iam::123456789012:user/ada is not authorized to perform: x:Y"
    assert "ada" not in reason(answered("AccessDenied", message))


# ------------------------------------------------------------------------------------- the HTTP API


class Refusing:
    """Answers every request with this status and body."""

    def __init__(self, status: str, body: bytes) -> None:
        self.status, self.body = status, body

    def __call__(
        self, _: Any, start_response: Callable[[str, list[tuple[str, str]]], Any]
    ) -> Iterable[bytes]:
        start_response(self.status, [("Retry-After", "99")])
        return [self.body]


@pytest.fixture
def refusing() -> Iterator[Callable[[str, bytes], str]]:
    """The address of a server that answers every request with this status and body."""
    servers: list[Iterator[str]] = []

    def serve(status: str, body: bytes) -> str:
        servers.append(served(Refusing(status, body)))
        return next(servers[-1])

    yield serve
    for server in servers:
        assert list(server) == []


_OURS = {
    "401 Unauthorized": b'{"error": "The token has expired. Get a new one."}',
    "403 Forbidden": b'{"error": "The token does not allow this."}',
    "404 Not Found": b'{"error": "There is no such alert."}',
    "409 Conflict": b'{"error": "Containers are not set up here."}',
    "429 Too Many Requests": b'{"error": "This session sends too much: wait."}',
    "500 Oh": b'{"error": "Something went wrong here. Try again; if it stays, quote r-1."}',
    "503 Busy": b'{"error": "The service is busy. Try again in a few seconds."}',
}


@pytest.mark.parametrize("status", sorted(_OURS))
@pytest.mark.parametrize(
    "body", [None, b'{"message": "No"}', b"", b"<html></html>", b'"error"', b"[]"]
)
def test_a_refusal_of_the_api_is_reported_once(
    refusing: Callable[[str, bytes], str], status: str, body: bytes | None
) -> None:
    url = refusing(status, _OURS[status] if body is None else body)
    done = run_in({"HEADCOUNT_URL": url, "HEADCOUNT_TOKEN": "t"}, "spaces")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{status[:3]}: ")
    assert_reported_once(done.stderr.removeprefix(f"{status[:3]}: "))
    assert done.stderr.lower().count("try again") <= 1, done.stderr
    assert done.stderr.lower().count("not accepted") <= 1, done.stderr
    if body is None and status < "5":
        assert _OURS[status].decode().split('"')[3] in done.stderr


def test_a_missing_or_wrong_token_is_reported_once(here: World, run: Run) -> None:
    forged = here.token(headcount="admin", secret="another secret of thirty-two bytes or more")
    for token in ("", forged):
        message = run("spaces", HEADCOUNT_TOKEN=token).stderr
        assert "headcount token" in message
        assert len(re.findall(r"token is|needs a token|not accepted", message)) == 1, message
        assert "Authorization: Bearer" not in message  # users of a command line write no headers


# ---------------------------------------------------------------------------------- foreign answers

_COMMANDS = [
    ("spaces",),
    ("watch", "site:main"),
    ("show", "site:main"),
    ("viewers", "site:main"),
    ("where", "u1"),
    ("explain", "site:main"),
    ("timeline", "site:main"),
    ("days", "site:main"),
    ("export", "site:main", "--days"),
    ("export", "site:main", "--audit"),
    ("export", "site:main", "--viewers"),
    ("kick", "site:main", "tab-1"),
    ("removals", "site:main"),
    ("let-in", "site:main", "u1"),
    ("say", "site:main", "Hello"),
    ("audit", "site:main"),
    ("erase", "--user", "u1", "--yes", "--no-wait"),
    ("erasures",),
    ("erasures", "e1"),
    ("cost",),
    ("demo", "--duration", "1"),
]
_BODIES = {
    "page": b"<html>Sign in</html>",
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"spaces"',
    "number": b"7",
    "not UTF-8": b"\xff\xfe",
    "cut": b'{"spaces": [',
    "object": b"{}",
    "another API": b'{"status": "ok", "data": []}',
}


@pytest.mark.parametrize(
    ("command", "body"),
    [
        *product(_COMMANDS, ("page", "another API")),
        *product((("spaces",), ("demo", "--duration", "1")), _BODIES),
    ],
    ids=str,
)
def test_a_foreign_answer_is_one_sentence(
    refusing: Callable[[str, bytes], str], command: tuple[str, ...], body: str
) -> None:
    url = refusing("200 OK", _BODIES[body])
    done = run_in({"HEADCOUNT_URL": url, "NO_PROXY": "127.0.0.1"}, *command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert url in done.stderr
    assert re.search("(?i)check the address|name another one", done.stderr), done.stderr
    (_,) = [line for line in done.stderr.splitlines() if not line.startswith("Fixed costs")]


@pytest.mark.parametrize("rows", [b"null", b"7", b'"x"', b"[7]", b"[null]", b"[[]]"])
def test_foreign_rows_are_one_sentence(refusing: Callable[[str, bytes], str], rows: bytes) -> None:
    names = (b"spaces", b"points", b"days", b"acts", b"viewers", b"removals", b"erasures")
    url = refusing("200 OK", b"{%s}" % b", ".join(b'"%s": %s' % (name, rows) for name in names))
    for command in _COMMANDS:
        if command[0] in {"kick", "say", "erase", "explain", "show", "watch", "demo"}:
            continue
        done = run_in({"HEADCOUNT_URL": url, "NO_PROXY": "127.0.0.1"}, *command)
        assert (done.exit_code, done.stdout) == (1, ""), command
        assert url in done.stderr


@pytest.mark.parametrize("token", ["a\nb", "a b", "tök", "\udcff"])
def test_a_token_that_no_header_carries_is_refused(run: Run, token: str) -> None:
    for command in (("spaces",), ("watch", "site:main", "--socket-url", "ws://127.0.0.1:9")):
        done = run(*command, "--token", token)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "copy it again" in done.stderr


def test_a_password_in_netrc_is_not_sent(
    here: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ada password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert run("spaces").exit_code == 0
