"""The stack's state and its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from headcount_cli.doctor.deployed import Deployed
from headcount_cli.doctor.findings import Finding, fail, info, ok, warn
from headcount_cli.doctor.resources import secret_of


def state(stack: Deployed) -> Finding:
    """Whether CloudFormation's last operation succeeded."""
    status = stack.stack.described["StackStatus"]
    if status.endswith("_IN_PROGRESS"):
        return warn(f"is {status}", "run the doctor again when it is done")
    if status == "UPDATE_ROLLBACK_COMPLETE":
        return warn(
            f"is {status}: the last deployment was rolled back",
            "find the first failure in the stack's events",
        )
    if status.endswith("FAILED") or "ROLLBACK" in status:
        return fail(f"is {status}", "find the first failure in the stack's events")
    return ok(f"is {status}")


def parameters(stack: Deployed) -> Iterator[Finding]:
    """Parameters that are valid, but probably not what was meant."""
    given, settings = stack.stack.parameters, stack.stack.settings
    origins = given.get("AllowedOrigins", "*").split()
    wrong = [origin for origin in origins if origin != "*" and not _is_origin(origin)]
    if wrong:
        cors = fail(
            f"no browser sends these origins: {', '.join(wrong)}",
            "write AllowedOrigins as scheme and host only, such as https://www.example.com",
        )
    elif origins == ["*"]:
        cors = info("pages of any origin may call the API", "set AllowedOrigins")
    else:
        cors = ok(f"{len(origins)} origins may call the API")
    yield cors.about("CORS")
    if settings.get("token-cookie") and "*" in origins:
        yield warn(
            "the token cookie is ignored in requests from pages of other origins",
            "name the origins whose pages may send it in AllowedOrigins",
        ).about("CORS")
    if not given.get("AlarmTopic"):
        yield info(
            "no one is notified of an alarm", "deploy with AlarmTopic=<ARN of an SNS topic>"
        ).about("alarms")
    if given.get("JwksUrl") and not given.get("TokenAudience"):
        yield info(
            "tokens of the issuer are accepted for any audience",
            "set TokenAudience if your issuer also issues tokens for other applications",
        ).about("tokens")
    secrets = {
        "TokenSecret": given.get("TokenSecret"),
        "webhook-secret": settings.get("webhook-secret"),
    }
    for name, arn in secrets.items():
        if arn:
            yield secret_of(stack, arn).about(name)


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    plain = not parts.path and not parts.query and not parts.fragment and "@" not in parts.netloc
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain
