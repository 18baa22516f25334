"""What the clients of AWS services share: endpoints, and botocore's errors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import json

from headcount.aws.wire import Endpoint, Response
from headcount.errors import RefusedError

_ALWAYS_FIPS = {"sqs": ("us-gov-", "us-iso-", "us-isob-east-", "us-isof-"), "events": ("us-gov-",)}
"""Where a service has no other address than a FIPS-validated one: how those regions begin."""


def endpoint_of(service: str, environ: Mapping[str, str]) -> Endpoint:
    """A service's endpoint: the one that the environment sets, or the region's own.

    ``URL_SUFFIX`` is CloudFormation's AWS::URLSuffix, so botocore's data of regions stays unread.
    """
    url = environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environ.get("AWS_ENDPOINT_URL")
    if url:
        return Endpoint.from_url(url)
    region = region_of(environ)
    fips = environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true"
    named = "-fips" if fips and not region.startswith(_ALWAYS_FIPS.get(service, ())) else ""
    host = f"{service}{named}.{region}.{environ['URL_SUFFIX']}"
    return Endpoint.from_url(f"https://{host}")


def region_of(environ: Mapping[str, str]) -> str:
    """The region, which Lambda always sets."""
    return environ.get("AWS_REGION") or environ["AWS_DEFAULT_REGION"]


def refusal_in(operation: str, response: Response, members: Collection[str] = ()) -> RefusedError:
    """The error that a response of a JSON service reports, with these members of its body."""
    try:
        body = json.decode(response.body)
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    code = str(body.get("__type", "")).rpartition("#")[2] or str(response.status)
    message = str(body.get("message", body.get("Message", "")))
    return RefusedError(
        operation,
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": response.status},
            **{name: body[name] for name in members if name in body},
        },
    )


def client_error(
    operation: str, code: str, status: int, message: str = "", members: Mapping[str, Any] = {}
) -> Exception:
    """botocore's error for a refused call, with the modelled members of the response."""
    from botocore.exceptions import ClientError

    response: Any = {
        "Error": {"Code": code or str(status), "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **members,
    }
    return ClientError(response, operation)


def connection_error(error: OSError, endpoint: Endpoint) -> Exception:
    """botocore's error for a call without a response, which may have taken effect."""
    from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

    if isinstance(error, TimeoutError):
        return ReadTimeoutError(endpoint_url=endpoint.authority, error=error)
    return EndpointConnectionError(endpoint_url=endpoint.authority, error=error)
