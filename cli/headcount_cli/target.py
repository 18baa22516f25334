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
from headcount_cli.tokens import mint

if TYPE_CHECKING:
    import boto3

OUTPUTS = Path(".local") / "outputs.json"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_LIVES = 3600  # seconds: a token that is made for one command

NOWHERE = (
    "Which Headcount? Start one with `make run`, or name one: --url https://... (or "
    "HEADCOUNT_URL), or --stack NAME for one on AWS."
)
WITHOUT_ONE = (
    "This needs a token: set HEADCOUNT_TOKEN. `headcount token --stack NAME` makes one where the "
    "stack signs its own; else your issuer does."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options of a command say; ``json``: answer as JSON."""

    url: str | None = None
    socket_url: str | None = None
    token: str | None = field(default=None, repr=False)
    stack: str | None = None
    region: str | None = None
    local: bool = False
    json: bool = False


@dataclass
class Stack:
    """A deployed stack, and the AWS it is in."""

    name: str
    session: boto3.Session
    endpoint: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """A boto3 client, made once."""
        if service not in self._clients:
            make: Any = self.session.client
            self._clients[service] = make(service, endpoint_url=self.endpoint)
        return self._clients[service]

    @cached_property
    def described(self) -> dict[str, Any]:
        """What CloudFormation says of it. CommandError where it can't be asked."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        except (ClientError, BotoCoreError) as error:
            region = self.session.region_name if self.session else None
            where = f"in {region}" if region else "(no region)"
            raise CommandError(
                f"CloudFormation can't tell of the stack {self.name} {where}: {error}. Are "
                "--stack, --region and your AWS credentials right?"
            ) from None
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

    def secret(self) -> str:
        """The secret that signs tokens. CommandError where tokens come from elsewhere."""
        from botocore.exceptions import BotoCoreError, ClientError

        arn = self.outputs.get("TokenSecretArn") or self.parameters.get("TokenSecret")
        if not arn:
            raise CommandError(
                f"The stack {self.name} has no token secret (no output TokenSecretArn, no "
                "parameter TokenSecret): get tokens from the issuer whose keys it trusts."
            )
        try:
            found = self.client("secretsmanager").get_secret_value(SecretId=arn)
        except (ClientError, BotoCoreError) as error:
            raise CommandError(
                f"The token secret can't be read ({error}): it takes secretsmanager:GetSecretValue "
                f"on {arn}. Or set HEADCOUNT_TOKEN."
            ) from None
        return str(found["SecretString"])

    def token(
        self, *, subject: str = "headcount-cli", lives: int = _LIVES, scopes: tuple[str, ...] = ()
    ) -> str:
        """A token of this stack, made with its secret."""
        claims = {
            "admin_claim": self.parameters.get("AdminClaim") or "headcount=admin",
            "scope_claim": self.parameters.get("ScopeClaim") or "headcount_scopes",
        }
        return mint(
            self.secret(), now=time.time(), subject=subject, lives=lives, scopes=scopes, **claims
        )


@dataclass(frozen=True)
class Target:
    """Where to talk to. ``token`` makes or returns one; None: there is none."""

    url: str
    socket_url: str | None
    token: Callable[[], str | None]
    stack: Stack | None


def find(asked: Asked, environment: Mapping[str, str] = os.environ) -> Target:
    """The target: what the options say, else the environment, else the running local stack.

    CommandError where there is none of these.
    """
    own = asked.token

    def given() -> str | None:
        return own or environment.get("HEADCOUNT_TOKEN")

    url = asked.url or (None if asked.stack or asked.local else environment.get("HEADCOUNT_URL"))
    if url:
        socket_url = asked.socket_url or environment.get("HEADCOUNT_SOCKET_URL")
        return Target(checked(url, {"http", "https"}), socket_url, given, None)
    outputs = local_outputs(environment)
    if asked.stack and not _is_local(asked, outputs):
        return _on_aws(find_stack(asked, environment), asked, given)
    if outputs is None:
        raise CommandError(NOWHERE if not asked.local else "No local stack runs: `make run`.")
    return Target(
        outputs["origin"],
        asked.socket_url or outputs["webSocketUrl"],
        lambda: own or outputs["adminToken"],
        _local(outputs),
    )


def find_stack(asked: Asked, environment: Mapping[str, str] = os.environ) -> Stack:
    """The stack itself, for what is asked of AWS: the one named, else the running local one."""
    outputs = local_outputs(environment)
    if asked.stack and not _is_local(asked, outputs):
        import boto3  # late: who talks to an address needs none of it

        return Stack(asked.stack, boto3.Session(region_name=asked.region))
    if outputs is None:
        raise CommandError(
            "Which stack? Name one with --stack (and --region), or start the local one: `make run`."
        )
    return _local(outputs)


def _is_local(asked: Asked, outputs: Mapping[str, Any] | None) -> bool:
    """Whether the stack that is named is the one that runs here."""
    return asked.local or (outputs is not None and outputs["stackName"] == asked.stack)


def _on_aws(stack: Stack, asked: Asked, given: Callable[[], str | None]) -> Target:
    try:
        url = stack.outputs["HttpUrl"]
    except KeyError:
        raise CommandError(
            f"The stack {stack.name} is no Headcount: it has no output HttpUrl."
        ) from None
    signs = "TokenSecretArn" in stack.outputs or stack.parameters.get("TokenSecret")

    def token() -> str | None:
        return asked.token or (stack.token() if signs else given())

    return Target(url, asked.socket_url or stack.outputs.get("WebSocketUrl"), token, stack)


def _local(outputs: Mapping[str, Any]) -> Stack:
    """The emulator's, whatever AWS profiles this machine has."""
    import boto3
    import botocore.session

    apart: Any = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    session = boto3.Session(
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
        region_name=outputs["region"],
        botocore_session=botocore.session.Session(session_vars=apart),
    )
    return Stack(outputs["stackName"], session, outputs["awsEndpointUrl"])


def local_outputs(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What the running local stack wrote, found from HEADCOUNT_LOCAL_DIR or this folder upwards."""
    if home := environment.get("HEADCOUNT_LOCAL_DIR"):
        return read_outputs(Path(home) / OUTPUTS.name)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (found := read_outputs(folder / OUTPUTS)) is not None:
            return found
    return None


def read_outputs(file: Path) -> dict[str, Any] | None:
    """An outputs file; None where there is none, or its stack was killed."""
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


def checked(url: str, schemes: set[str]) -> str:
    """An address without its last slash. CommandError where it is none."""
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname or parts.query or parts.fragment:
        example = "wss://..." if "wss" in schemes else "https://... or http://localhost:8787"
        raise CommandError(f"{url!r} is no address: write it like {example}")
    return url.rstrip("/")


def is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent there."""
    parts = urlsplit(url)
    return parts.scheme in {"https", "wss"} or parts.hostname in _LOOPBACK
