"""Limits on sizes and rates that keep one space from harming itself or others."""

from __future__ import annotations

from dataclasses import replace

import jwt
import pytest
from botocore.exceptions import ClientError
from headcount.aws.clients import READ_TIMEOUT, SDK_TRIES
from headcount.aws.dynamodb import FIRST_BACKOFF, TRIES
from headcount.errors import BusyError
from headcount.model.headcount import Headcount
from headcount.model.session import Facts, Session, Write
from headcount.model.tally import merge
from headcount.settings import Settings
from headcount.usecases.count import pace
from headcount.usecases.deliver import to_frame
from headcount.usecases.queues import CONNECTIONS_PER_CHUNK, Chunk
from headcount.wiring import Services

from lab.harness.clock import NOON
from lab.harness.fakes import SECRET
from lab.harness.template import template
from tests.support.tallies import tally

FRAME = 128 * 1024  # API Gateway's limit of one post
QUEUE = 256 * 1024  # SQS's limit of one message


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
def test_the_largest_headcount_fits_into_a_frame_and_counts_everyone(value: str) -> None:
    numbers = tally(session(number, value) for number in range(1_000))
    frame = to_frame(replace(Headcount("site:main"), tally=numbers).message(NOON))
    assert len(frame.encode()) < FRAME
    for values in numbers.facets.values():
        assert sum(count for count, _ in values.values()) == 1_000
    assert merge([numbers]) == numbers
    chunk = Chunk("site:main", 1, frame, ["c" * 16] * CONNECTIONS_PER_CHUNK)
    assert len(chunk.to_json().encode()) < QUEUE


@pytest.mark.parametrize(("facets", "paces"), [(False, (2_052, 5_000)), (True, (3_367, 10_000))])
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
    # The SDK's standard mode: up to 1 s before the second attempt, then twice as long each time.
    the_sdks = SDK_TRIES * READ_TIMEOUT + (2 ** (SDK_TRIES - 1) - 1)
    assert max(own, the_sdks) < template().functions[function]["Timeout"]


def test_an_unreadable_secret_is_a_retryable_error() -> None:
    class Throttled:
        def get_secret_value(self, **_: str) -> None:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetSecretValue")

    environ = {
        "SETTINGS": "",
        "JWKS_URL": "",
        "TOKEN_ISSUER": "",
        "TOKEN_AUDIENCE": "",
        "TOKEN_SECRET": "arn",
    }
    services = Services(Settings(environ))
    vars(services)["secrets"] = Throttled()
    with pytest.raises(BusyError):
        services.verifier.verify(jwt.encode({}, SECRET))
