"""Turns boto3's errors into sentences that say how to fix them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from headcount_cli.errors import CommandError, sentence

DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
"""Error codes for a missing permission."""
_BAD_CREDENTIALS = {
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId"),
    *("UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch"),
    *("AuthFailure", "InvalidAccessKeyId"),
}
"""Error codes for credentials that AWS does not accept."""
_SETTINGS: list[tuple[tuple[type[BotoCoreError], ...], str]] = [
    (
        (exceptions.NoRegionError,),
        "no region is set. Name one with --region, or set AWS_DEFAULT_REGION.",
    ),
    ((exceptions.InvalidRegionError,), "the region is not valid. Write it like eu-central-1."),
    (
        (exceptions.ProfileNotFound,),
        "there is no AWS profile {profile!r} here. `aws configure list-profiles` lists yours.",
    ),
    (
        (exceptions.NoCredentialsError, exceptions.PartialCredentialsError),
        "no AWS credentials were found. `aws configure` or `aws sso login` sets them.",
    ),
    (
        (exceptions.SSOError, exceptions.TokenRetrievalError),
        "your sign-in to AWS has expired. `aws sso login` renews it.",
    ),
    (
        (exceptions.ConfigParseError, exceptions.ConfigNotFound),
        "the AWS settings in {path} can't be read. Correct the file.",
    ),
    (
        (exceptions.ConnectionError, exceptions.HTTPClientError),
        "AWS can't be reached at {endpoint_url}. Check the network and the region.",
    ),
]


@contextmanager
def explained(
    message: str, *, advice: str = "", codes: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Turn boto3's error into a CommandError: this message with the reason and the advice, or the
    message that ``codes`` has for AWS's error code."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        known = (codes or {}).get(code(error)) if isinstance(error, ClientError) else None
        raise CommandError(known or f"{message}: {reason(error)} {advice}".rstrip()) from None


def reason(error: ClientError | BotoCoreError) -> str:
    """Why a call failed, and the remedy if it is in the caller's own settings.

    It starts in lower case, to follow a colon. AWS's name for the caller is left out.
    """
    if isinstance(error, ClientError):
        return _answer(error)
    for kinds, message in _SETTINGS:
        if isinstance(error, kinds):
            return message.format_map({"endpoint_url": "its address", **error.kwargs})
    return sentence(str(error))


def code(error: ClientError) -> str:
    """AWS's error code."""
    return str(error.response["Error"]["Code"])


def _answer(error: ClientError) -> str:
    name = code(error)
    if name in DENIED:
        return f"you are not allowed to call {error.operation_name}."
    if name in _BAD_CREDENTIALS:
        return f"AWS does not accept your credentials ({name}). Sign in again: `aws sso login`."
    message = error.response["Error"].get("Message")
    return sentence(f"AWS answers {name}, {message}" if message else f"AWS answers {name}")
