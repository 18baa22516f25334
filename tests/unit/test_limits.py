"""Sizes and paces that keep one space from harming itself or others."""

from __future__ import annotations

from dataclasses import replace

import jwt
import pytest
from botocore.exceptions import ClientError
from headcount.aws.dynamodb import FIRST_BACKOFF, TRIES
from headcount.clients import READ_TIMEOUT, SDK_TRIES, Services
from headcount.counting import pace
from headcount.errors import BusyError
from headcount.fanning import MAX_CONNECTIONS, Chunk
from headcount.headcounts import Headcount
from headcount.session import Facts, Session, Write
from headcount.settings import Settings
from headcount.sockets import to_frame
from headcount.tally import merge, tally

from tests.support.clock import NOON
from tests.support.fakes import SECRET
from tests.support.template import template

FRAME = 128 * 1024  # what API Gateway takes in one post
QUEUE = 256 * 1024  # what SQS takes in one message


def session(number: int, value: str) -> Session:
    return Session(
        space="site:main",
        shard=0,
        id=f"s{number}",
        write=Write.JOIN,
        request=f"r{number}",
        facts=Facts(
            page=f"/{number:03d}/" + value * 5,
            facets={f"facet{facet}": f"{number:03d}{facet}" + value for facet in range(8)},
        ),
        joined_at=NOON,
        visit=f"r{number}",
        changed_at=NOON,
        last_seen=NOON,
        expires_at=NOON + 60_000,
        beats={},
    )


@pytest.mark.parametrize("value", ["x" * 56, "я" * 28, '"' * 56, "😀" * 14])
def test_the_largest_headcount_fits_into_a_frame_and_counts_everybody(value: str) -> None:
    numbers = tally(session(number, value) for number in range(1_000))
    frame = to_frame(replace(Headcount("site:main"), tally=numbers).message(NOON))
    assert len(frame.encode()) < FRAME
    for values in numbers.facets.values():
        assert sum(count for count, _ in values.values()) == 1_000
    assert merge([numbers]) == numbers
    chunk = Chunk("site:main", 1, frame, ["c" * 16] * MAX_CONNECTIONS)
    assert len(chunk.to_json().encode()) < QUEUE


@pytest.mark.parametrize(("facets", "paces"), [(False, (3_303, 5_000)), (True, (6_181, 10_000))])
def test_recounts_slow_down_from_one_second_to_five_or_of_facets_alone_to_ten(
    facets: bool, paces: tuple[int, int]
) -> None:
    found = [pace(rows, facets=facets) for rows in (0, 30, 60, 100, 299, 300, 10**6)]
    assert found == [1_000, 1_000, *paces, paces[-1], 5_000, 5_000]
    every = [pace(rows, facets=facets) for rows in range(200)]
    assert every == sorted(every)


@pytest.mark.parametrize("function", ["api", "socket", "containers"])
def test_a_dependency_that_never_answers_is_given_up_before_the_function_is_killed(
    function: str,
) -> None:
    own = TRIES * READ_TIMEOUT + FIRST_BACKOFF * (2 ** (TRIES - 1) - 1)
    # The SDK's standard mode: up to 1 s before the second try, and twice as long each time.
    the_sdks = SDK_TRIES * READ_TIMEOUT + (2 ** (SDK_TRIES - 1) - 1)
    assert max(own, the_sdks) < template().functions[function]["Timeout"]


def test_a_secret_that_cannot_be_read_is_a_reason_to_try_again() -> None:
    class Throttled:
        def get_secret_value(self, **_: str) -> None:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetSecretValue")

    environ = {
        "ADMIN_CLAIM": "headcount=admin",
        "SCOPE_CLAIM": "",
        "JWKS_URL": "",
        "TOKEN_ISSUER": "",
        "TOKEN_AUDIENCE": "",
        "TOKEN_SECRET": "arn",
    }
    services = Services(Settings(environ))
    vars(services)["secrets"] = Throttled()
    with pytest.raises(BusyError):
        services.verifier.verify(jwt.encode({}, SECRET))
