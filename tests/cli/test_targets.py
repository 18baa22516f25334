"""Which Headcount a command talks to, and with which token."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from headcount_cli.errors import CommandError
from headcount_cli.target import Options, Stack, find_stack, find_target, is_private, parse_url

OUTPUTS = {
    "origin": "http://localhost:8787",
    "webSocketUrl": "ws://localhost:8787/ws",
    "adminToken": "the stack's own",
    "awsEndpointUrl": "http://127.0.0.1:4566",
    "region": "us-east-1",
    "stackName": "headcount-local",
}


@pytest.fixture
def running(tmp_path: Path) -> dict[str, str]:
    """An environment in which a local stack runs."""
    (tmp_path / "outputs.json").write_text(json.dumps({**OUTPUTS, "pid": os.getpid()}))
    return {"HEADCOUNT_LOCAL_DIR": str(tmp_path)}


def test_options_take_precedence_over_the_environment_and_that_over_the_local_stack(
    running: dict[str, str],
) -> None:
    named = {**running, "HEADCOUNT_URL": "https://env.test/"}
    assert find_target(Options(url="https://option.test"), named).url == "https://option.test"
    assert find_target(Options(), named).url == "https://env.test"
    assert find_target(Options(), running).url == "http://localhost:8787"
    assert find_target(Options(local=True), named).url == "http://localhost:8787"


def test_the_local_stack_s_token_is_used_for_nothing_else(
    running: dict[str, str],
) -> None:
    environment = {**running, "HEADCOUNT_TOKEN": "from the environment"}
    assert find_target(Options(), environment).token() == "the stack's own"
    assert find_target(Options(token="given"), environment).token() == "given"
    elsewhere = Options(url="https://other.test")
    assert find_target(elsewhere, environment).token() == "from the environment"
    assert find_target(elsewhere, running).token() is None


def test_the_local_stack_is_found_from_a_folder_below(
    running: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / "outputs.json").rename(tmp_path / ".local" / "outputs.json")
    below = tmp_path / "docs" / "pictures"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_target(Options(), {}).url == "http://localhost:8787"


def test_a_killed_stack_is_ignored(running: dict[str, str], tmp_path: Path) -> None:
    gone = {**OUTPUTS, "pid": 2**22 + 1}  # above what Linux gives by default
    (tmp_path / "outputs.json").write_text(json.dumps(gone))
    with pytest.raises(CommandError, match="make run"):
        find_target(Options(), running)
    with pytest.raises(CommandError, match="--stack"):
        find_stack(Options(), running)


def test_the_local_stack_needs_no_profile_of_this_machine(
    running: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    client = find_stack(Options(), running).client("dynamodb")
    assert client.meta.endpoint_url == "http://127.0.0.1:4566"


def test_the_local_stack_may_be_called_by_its_name(running: dict[str, str]) -> None:
    named = Options(stack="headcount-local")
    assert find_target(named, running).url == "http://localhost:8787"
    assert find_stack(named, running).endpoint == "http://127.0.0.1:4566"
    assert find_stack(Options(stack="prod", region="eu-west-1"), running).endpoint is None


def test_no_token_is_shown_by_accident() -> None:
    assert "s3cret" not in repr(Options(token="s3cret"))


def test_addresses() -> None:
    assert parse_url("https://api.test/", {"https"}) == "https://api.test"
    for wrong in ("api.test", "ftp://api.test", "https://api.test?token=x", "https://"):
        with pytest.raises(CommandError, match="write it like"):
            parse_url(wrong, {"http", "https"})
    assert is_private("https://api.test")
    assert is_private("ws://localhost:8787/ws")
    assert not is_private("http://api.test")


# ----------------------------------------------------------------------------------- a stack on AWS


class Cloud:
    """A session with one stack, in which each secret contains its ARN."""

    region_name = "eu-central-1"

    def __init__(self, outputs: dict[str, str], parameters: dict[str, str]) -> None:
        self.stack = {
            "Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()],
            "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        }

    def client(self, *_: str, **__: Any) -> Any:
        return self

    def describe_stacks(self, **_: str) -> Any:
        return {"Stacks": [self.stack]}

    def get_secret_value(self, *, SecretId: str) -> Any:  # noqa: N803 - as boto3 has it
        return {"SecretString": f"secret of {SecretId}, long enough for HS256"}


def stack_of(outputs: dict[str, str], **parameters: str) -> Stack:
    session: Any = Cloud(outputs, parameters)
    return Stack("prod", session)


def test_a_stack_that_signs_its_own_tokens_gives_one() -> None:
    import jwt

    made = stack_of({"TokenSecretArn": "arn:a"}, Settings="admin-claim=role=boss").token(
        subject="ada"
    )
    secret = "secret of arn:a, long enough for HS256"
    assert jwt.decode(made, secret, algorithms=["HS256"])["role"] == "boss"
    given = stack_of({}, TokenSecret="arn:b").token()
    assert jwt.decode(given, "secret of arn:b, long enough for HS256", algorithms=["HS256"])


def test_a_stack_whose_tokens_come_from_elsewhere_says_so() -> None:
    with pytest.raises(CommandError, match="the issuer whose keys it trusts"):
        stack_of({}, JwksUrl="https://issuer.test").token()


def test_a_stack_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {"HttpUrl": "https://api.test", "WebSocketUrl": "wss://socket.test/live"}
    made = stack_of(outputs, JwksUrl="https://issuer.test")
    monkeypatch.setattr("headcount_cli.target.find_stack", lambda *_: made)
    target = find_target(
        Options(stack="prod"), {"HEADCOUNT_TOKEN": "mine", "HEADCOUNT_URL": "https://x"}
    )
    assert (target.url, target.socket_url) == ("https://api.test", "wss://socket.test/live")
    assert target.token() == "mine"
    monkeypatch.setattr("headcount_cli.target.find_stack", lambda *_: stack_of({}))
    with pytest.raises(CommandError, match="no output HttpUrl"):
        find_target(Options(stack="other"), {})
