"""What AWS's services have in common: where they answer, and botocore's errors for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headcount.aws.http import Endpoint


def endpoint_of(service: str, environ: Mapping[str, str]) -> Endpoint:
    """Where a service answers: the address the environment names, or the region's own."""
    named = environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environ.get("AWS_ENDPOINT_URL")
    region = region_of(environ)
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return Endpoint.of(named or f"https://{service}.{region}.{suffix}")


def region_of(environ: Mapping[str, str]) -> str:
    """The region; Lambda always says it."""
    return environ.get("AWS_REGION") or environ["AWS_DEFAULT_REGION"]


def error_of(
    operation: str, code: str, status: int, message: str = "", members: Mapping[str, Any] = {}
) -> Exception:
    """A refusal, with the modelled members that came with it."""
    from botocore.exceptions import ClientError

    response: Any = {
        "Error": {"Code": code or str(status), "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **members,
    }
    return ClientError(response, operation)


def out_of_reach(error: OSError, endpoint: Endpoint) -> Exception:
    """No answer: whether the request had its effect is not known."""
    from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

    if isinstance(error, TimeoutError):
        return ReadTimeoutError(endpoint_url=endpoint.authority, error=error)
    return EndpointConnectionError(endpoint_url=endpoint.authority, error=error)
