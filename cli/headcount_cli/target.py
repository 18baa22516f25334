"""Which Headcount a command talks to: an address, the local stack, or a stack on AWS."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headcount_cli.errors import CommandError
from headcount_cli.tokens import ADMIN, CLAIM, SCOPES, mint

if TYPE_CHECKING:
    import boto3

OUTPUTS = Path(".local") / "outputs.json"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_NO_STACK = "ValidationError"  # CloudFormation's code for a stack that it does not know
_COMMAND_TOKEN_SECONDS = 3600

NO_TARGET = (
    "No Headcount is named and no local one is running. Start one with `make run`, or name one: "
    "--url https://... (or HEADCOUNT_URL), or --stack NAME for one on AWS."
)
NO_LOCAL_STACK = "No local stack is running. Start one with `make run`."
UNAUTHENTICATED = (
    "This needs a token: set HEADCOUNT_TOKEN. `headcount token --stack NAME` makes one if the "
    "stack signs its own tokens; otherwise get one from your issuer."
)


@dataclass(frozen=True, slots=True)
class Options:
    """The shared options of a command. ``json``: print JSON."""

    url: str | None = None
    socket_url: str | None = None
    token: str | None = field(default=None, repr=False)
    stack: str | None = None
    region: str | None = None
    local: bool = False
    json: bool = False


@dataclass
class Stack:
    """A deployed stack, in an account and region."""

    name: str
    session: boto3.Session
    endpoint: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """A boto3 client, created once."""
        if service not in self._clients:
            make: Any = self.session.client
            self._clients[service] = make(service, endpoint_url=self.endpoint)
        return self._clients[service]

    @cached_property
    def described(self) -> dict[str, Any]:
        """CloudFormation's description. CommandError if there is none."""
        from headcount_cli.aws import explained  # late: see _session

        region = self.session.region_name if self.session else None
        missing = (
            f"There is no stack {self.name} in {region} in this AWS account. Check --stack, "
            "--region and your AWS profile."
        )
        with explained(f"The stack {self.name} can't be read", codes={_NO_STACK: missing}):
            found = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        described: dict[str, Any] = found[0]
        return described

    @property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        outputs = self.described.get("Outputs", [])
        return {one["OutputKey"]: one["OutputValue"] for one in outputs}

    @property
    def parameters(self) -> dict[str, str]:
        """The stack's parameters."""
        given = self.described.get("Parameters", [])
        return {one["ParameterKey"]: one.get("ParameterValue", "") for one in given}

    @property
    def settings(self) -> dict[str, str]:
        """The settings in its parameter Settings."""
        given = self.parameters.get("Settings", "").split(",")
        return dict(one.split("=", 1) for one in given if one)

    def secret(self) -> str:
        """The secret that signs tokens. CommandError if an issuer signs them."""
        from headcount_cli.aws import explained

        arn = self.outputs.get("TokenSecretArn") or self.parameters.get("TokenSecret")
        if not arn:
            raise CommandError(
                f"The stack {self.name} has no token secret (no output TokenSecretArn, no "
                "parameter TokenSecret): get a token from the issuer whose keys it trusts."
            )
        advice = (
            f"This needs secretsmanager:GetSecretValue on {arn}. Otherwise set HEADCOUNT_TOKEN."
        )
        with explained("The token secret can't be read", advice=advice):
            found = self.client("secretsmanager").get_secret_value(SecretId=arn)
        return str(found["SecretString"])

    def token(
        self,
        *,
        subject: str = "headcount-cli",
        lives: int = _COMMAND_TOKEN_SECONDS,
        scopes: tuple[str, ...] = (),
    ) -> str:
        """A token signed with this stack's secret."""
        claims = {
            "admin_claim": self.settings.get("admin-claim") or f"{CLAIM}={ADMIN}",
            "scope_claim": self.settings.get("scope-claim") or SCOPES,
        }
        return mint(
            self.secret(), now=time.time(), subject=subject, lives=lives, scopes=scopes, **claims
        )


@dataclass(frozen=True)
class Target:
    """A Headcount to talk to. ``token`` makes or returns a token, or None."""

    url: str
    socket_url: str | None
    token: Callable[[], str | None]
    stack: Stack | None


def find_target(options: Options, environment: Mapping[str, str] = os.environ) -> Target:
    """The target: from the options, else the environment, else the running local stack.

    CommandError if there is none.
    """

    def given_token() -> str | None:
        return options.token or environment.get("HEADCOUNT_TOKEN")

    url = options.url or (
        None if options.stack or options.local else environment.get("HEADCOUNT_URL")
    )
    if url:
        socket_url = options.socket_url or environment.get("HEADCOUNT_SOCKET_URL")
        return Target(parse_url(url, {"http", "https"}), socket_url, given_token, None)
    outputs = local_outputs(environment)
    if options.stack and not _is_local(options, outputs):
        return _on_aws(find_stack(options, environment), options, given_token)
    if outputs is None:
        raise CommandError(NO_LOCAL_STACK if options.local else NO_TARGET)
    return Target(
        outputs["origin"],
        options.socket_url or outputs["webSocketUrl"],
        lambda: options.token or outputs["adminToken"],
        _local(outputs),
    )


def find_stack(options: Options, environment: Mapping[str, str] = os.environ) -> Stack:
    """The stack, for calls to AWS: the one that --stack names, else the running local one."""
    outputs = local_outputs(environment)
    if options.stack and not _is_local(options, outputs):
        return Stack(options.stack, _session(options.region))
    if outputs is None:
        raise CommandError(
            "No stack is named and no local one is running. Name one with --stack (and --region), "
            "or start the local one with `make run`."
        )
    return _local(outputs)


def _session(region: str | None) -> boto3.Session:
    """With this machine's AWS settings. CommandError if they are wrong."""
    import boto3  # late: it is slow to import, and not needed with an address

    from headcount_cli.aws import explained

    with explained("AWS can't be used"):
        return boto3.Session(region_name=region)


def _is_local(options: Options, outputs: Mapping[str, Any] | None) -> bool:
    """Whether the options name the local stack."""
    return options.local or (outputs is not None and outputs["stackName"] == options.stack)


def _on_aws(stack: Stack, options: Options, given_token: Callable[[], str | None]) -> Target:
    try:
        url = stack.outputs["HttpUrl"]
    except KeyError:
        raise CommandError(
            f"The stack {stack.name} is not a Headcount: it has no output HttpUrl. Check --stack."
        ) from None
    signs = "TokenSecretArn" in stack.outputs or stack.parameters.get("TokenSecret")

    def token() -> str | None:
        return options.token or (stack.token() if signs else given_token())

    return Target(url, options.socket_url or stack.outputs.get("WebSocketUrl"), token, stack)


def _local(outputs: Mapping[str, Any]) -> Stack:
    """The emulator's stack, independent of this machine's AWS profiles."""
    import boto3
    import botocore.session

    isolated: Any = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    session = boto3.Session(
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
        region_name=outputs["region"],
        botocore_session=botocore.session.Session(session_vars=isolated),
    )
    return Stack(outputs["stackName"], session, outputs["awsEndpointUrl"])


def local_outputs(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The outputs of the running local stack, in HEADCOUNT_LOCAL_DIR or this folder or above."""
    if home := environment.get("HEADCOUNT_LOCAL_DIR"):
        return read_outputs(Path(home) / OUTPUTS.name)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (found := read_outputs(folder / OUTPUTS)) is not None:
            return found
    return None


def read_outputs(file: Path) -> dict[str, Any] | None:
    """An outputs file; None if there is none, or if its stack was killed."""
    try:
        outputs: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError, PermissionError, json.JSONDecodeError):
        return None
    return outputs if _exists(outputs["pid"]) else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def parse_url(url: str, schemes: set[str]) -> str:
    """An address without a trailing slash. CommandError if it is not one."""
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname or parts.query or parts.fragment:
        example = "wss://..." if "wss" in schemes else "https://... or http://localhost:8787"
        raise CommandError(f"{url!r} is not an address: write it like {example}")
    return url.rstrip("/")


def is_private(url: str) -> bool:
    """Whether traffic to it is encrypted, or stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme in {"https", "wss"} or parts.hostname in _LOOPBACK
