"""Mint an admin token: for the running local stack, or for a deployed one (`--stack`)."""

import argparse
import sys
import time

import boto3
import jwt
from botocore.exceptions import BotoCoreError, ClientError

from local.outputs import running_stack
from local.settings import STACK_NAME, Settings, UsageError, use_emulator

HOUR = 3600
CLAIM, ADMIN = "headcount", "admin"  # the template's default admin claim and its value


def mint(secret: str, subject: str = "admin", ttl: int = 12 * HOUR) -> str:
    """An HS256 token with the admin claim, valid for `ttl` seconds from now."""
    now = int(time.time())
    claims = {"sub": subject, CLAIM: ADMIN, "iat": now, "exp": now + ttl}
    return jwt.encode(claims, secret, algorithm="HS256")


def read_secret(session: boto3.Session, arn: str) -> str:
    """The token secret's text, which is the key itself."""
    return session.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]


def secret_of(session: boto3.Session, stack: str) -> str:
    """The token secret of a stack, found by its output `TokenSecretArn`."""
    found = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    for output in found.get("Outputs", []):
        if output["OutputKey"] == "TokenSecretArn":
            return read_secret(session, output["OutputValue"])
    raise UsageError(
        f"The stack {stack} has no token secret of its own (no output TokenSecretArn): "
        "get tokens from the issuer whose keys it trusts."
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make token", description=__doc__)
    parser.add_argument("--stack", help="a stack deployed to AWS; default: the local one")
    parser.add_argument("--region", help="that stack's region; default: your AWS settings'")
    parser.add_argument("--subject", default="admin", help="the token's `sub`")
    parser.add_argument("--ttl", type=int, default=12 * HOUR, help="seconds until it expires")
    arguments = parser.parse_args()
    try:
        if not arguments.stack:
            settings, _ = running_stack(Settings.from_environment())
            use_emulator(settings)
        session = boto3.Session(region_name=arguments.region)
        secret = secret_of(session, arguments.stack or STACK_NAME)
        print(mint(secret, arguments.subject, arguments.ttl))
    except (UsageError, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
