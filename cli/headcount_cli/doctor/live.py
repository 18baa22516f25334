"""Seen from outside: the API answers, sockets open, strangers don't get in, clocks agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from headcount_cli.api import open_session
from headcount_cli.doctor.deployed import Deployed
from headcount_cli.doctor.findings import Said, fail, info, ok, unknown, warn
from headcount_cli.doctor.resources import judged
from headcount_cli.errors import CommandError
from headcount_cli.target import Target

Clock = Callable[[], float]

CLOCKS_DIFFER, CLOCKS_DRIFT = 60.0, 10.0
"""Seconds between our clock and the server's that are a fault, and that are worth a word."""
_REFUSALS = {401, 403}
_ANSWER_WITHIN = 15.0
_SITE = "look at the log of the api function, and at the faults above"


@dataclass(frozen=True, slots=True)
class Seen:
    """A check's name and what it says."""

    check: str
    said: Said


async def outside(target: Target, now: Clock = time.time) -> list[Seen]:
    """Everything that a client sees."""
    seen: list[Seen] = []
    try:
        token = target.token()
    except CommandError as error:
        seen.append(Seen("token", unknown(str(error))))
        token = None
    async with open_session() as session:
        seen += await _http(session, target, token, now)
        if target.socket_url:
            seen += await _socket(session, target.socket_url, token)
    return seen


async def _http(
    session: aiohttp.ClientSession, target: Target, token: str | None, now: Clock
) -> list[Seen]:
    url = f"{target.url}/v1/spaces"
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        async with session.get(url, headers=headers) as answer:
            status, date = answer.status, answer.headers.get("Date")
        async with session.get(url) as stranger:
            refused = stranger.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = str(error) or type(error).__name__
        return [Seen("health", fail(f"{target.url} does not answer: {why}", _SITE))]
    seen = [Seen("health", _health(status, token is not None))]
    if date:
        seen.append(Seen("clock", clocks(parsedate_to_datetime(date).timestamp(), now())))
    if refused < HTTPStatus.MULTIPLE_CHOICES:
        words = "who has no token may list the spaces"
        seen.append(Seen("authorizer", fail(words, "another API answers here: is it Headcount's?")))
    elif refused in _REFUSALS:
        seen.append(Seen("authorizer", ok("strangers are refused")))
    return seen


def _health(status: int, has_token: bool) -> Said:
    if status == HTTPStatus.OK or (status in _REFUSALS and not has_token):
        return ok("the API answers")
    if status in _REFUSALS:
        return fail(
            f"the API refuses an admin's token ({status})",
            "the functions read another secret, AdminClaim or issuer than the stack says: compare "
            "the api function's TOKEN_SECRET, ADMIN_CLAIM and JWKS_URL with the parameters",
        )
    return fail(f"the API answers a read with {status}", _SITE)


def clocks(theirs: float, ours: float) -> Said:
    """How far two clocks are apart. AWS's is right."""
    apart = ours - theirs
    way = "ahead of" if apart > 0 else "behind"
    words = f"this machine's is {abs(apart):.0f} s {way} the server's"
    mend = (
        "set this machine's clock (`timedatectl set-ntp true`): tokens made here are not valid "
        "yet, or not any more, and AWS refuses calls that are 5 minutes off"
    )
    if abs(apart) >= CLOCKS_DIFFER:
        return fail(words, mend)
    if abs(apart) >= CLOCKS_DRIFT:
        return warn(words, mend)
    return ok("this machine's and the server's agree")


async def _socket(session: aiohttp.ClientSession, url: str, token: str | None) -> list[Seen]:
    look = "look at the log of the socket function, and at the faults above"
    seen = []
    if token:
        try:
            headers = {"authorization": f"Bearer {token}"}
            async with session.ws_connect(url, headers=headers) as socket:
                await socket.send_json({"action": "ping"})
                said = await socket.receive_json(timeout=_ANSWER_WITHIN)
            answered = said.get("type") == "pong"
            good = ok("opens and answers")
            seen.append(good if answered else fail("answers a ping with something else", look))
        except aiohttp.WSServerHandshakeError as error:
            seen.append(fail(f"refuses an admin's token ({error.status})", look))
        except (aiohttp.ClientError, TimeoutError, OSError, TypeError, ValueError) as error:
            why = str(error) or "no answer in time"
            seen.append(fail(f"does not open or answer: {why}", look))
    try:
        async with session.ws_connect(url):
            seen.append(fail("lets strangers in", "another API answers here: is it Headcount's?"))
    except aiohttp.WSServerHandshakeError as error:
        if error.status in _REFUSALS:
            seen.append(ok("refuses strangers"))
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass  # said above, where there is a token
    return [Seen("WebSocket", said_) for said_ in seen]


# -------------------------------------------------------------------------------------- parameters


def parameters(stack: Deployed) -> Iterator[Seen]:
    """What is asked for by parameters, and is probably not meant."""
    given = stack.stack.parameters
    origins = given.get("AllowedOrigins", "*").split()
    wrong = [origin for origin in origins if origin != "*" and not _is_origin(origin)]
    if wrong:
        mend = "deploy with AllowedOrigins of scheme and host alone, as https://www.example.com"
        yield Seen("CORS", fail(f"no browser sends these origins: {', '.join(wrong)}", mend))
    elif origins == ["*"]:
        yield Seen("CORS", info("pages of any origin may call the API", "set AllowedOrigins"))
    else:
        yield Seen("CORS", ok(f"{len(origins)} origins may call the API"))
    if given.get("TokenCookie") and "*" in origins:
        mend = "name the origins whose pages may send it in AllowedOrigins"
        yield Seen("CORS", warn("the cookie is taken from pages of no other origin", mend))
    if not given.get("AlarmTopic"):
        mend = "deploy with AlarmTopic=<ARN of an SNS topic>"
        yield Seen("alarms", info("nobody is told when one rings", mend))
    if given.get("JwksUrl") and not given.get("TokenAudience"):
        mend = "set TokenAudience, where your issuer also makes tokens for others"
        yield Seen("tokens", info("any audience's tokens of the issuer are taken", mend))
    for parameter in ("TokenSecret", "WebhookSecret"):
        if arn := given.get(parameter):
            found = stack.ask("secretsmanager", "get_secret_value", SecretId=arn)
            yield Seen(parameter, judged(found.get("SecretString", ""), arn))


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    plain = not parts.path and not parts.query and not parts.fragment and "@" not in parts.netloc
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain


# ------------------------------------------------------------------------------- state and metrics


def state(stack: Deployed) -> Said:
    """Whether CloudFormation finished what it did last."""
    status = stack.stack.described["StackStatus"]
    if status.endswith("_IN_PROGRESS"):
        return warn(f"is {status}", "look again when it is done")
    if status in {"UPDATE_ROLLBACK_COMPLETE"}:
        return warn(f"is {status}: the last deploy was taken back", "look at the stack's events")
    if status.endswith("FAILED") or "ROLLBACK" in status:
        return fail(f"is {status}", "look at the stack's events for the first failure")
    return ok(f"is {status}")


def hours_metrics(stack: Deployed, now: Clock = time.time) -> Iterator[tuple[str, Said]]:
    """What functions complained of in the last hour, by function; and drift."""
    functions = stack.of_type("AWS::Lambda::Function")
    wanted = [
        (one.id, name, "AWS/Lambda", {"FunctionName": str(one.name)})
        for one in functions
        for name in ("Errors", "Throttles")
    ]
    wanted.append((stack.stack.name, "Drift", "Headcount", {"Stack": stack.stack.name}))
    end = datetime.fromtimestamp(now(), UTC)
    queries = [
        {
            "Id": f"m{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": namespace,
                    "MetricName": name,
                    "Dimensions": [
                        {"Name": key, "Value": value} for key, value in dimensions.items()
                    ],
                },
                "Period": 3600,
                "Stat": "Sum",
            },
        }
        for number, (_, name, namespace, dimensions) in enumerate(wanted)
    ]
    answer = stack.stack.client("cloudwatch").get_metric_data(
        StartTime=end - timedelta(hours=1), EndTime=end, MetricDataQueries=queries
    )
    sums = {one["Id"]: sum(one["Values"]) for one in answer["MetricDataResults"]}
    said = False
    for number, (subject, name, _, _) in enumerate(wanted):
        if total := sums.get(f"m{number}", 0):
            said = True
            mend = {
                "Errors": "look at the function's log; what was given up lies in the dead letters",
                "Throttles": "raise the account's concurrency, or the function's",
                "Drift": "numbers were wrong and repaired: docs/audit.md says what to look for",
            }[name]
            yield subject, warn(f"{name} in the last hour: {total:,.0f}", mend)
    if not said:
        yield stack.stack.name, ok("no errors, throttles or drift in the last hour")
