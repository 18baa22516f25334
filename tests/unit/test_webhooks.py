"""Webhooks: what is sent and how it is signed, what is tried again, and where nothing is sent."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from headcount import webhooks
from headcount.webhooks import (
    LONGEST_WAIT,
    SECRET_FOR,
    Messenger,
    Receiver,
    Secret,
    WebhookRefusedError,
    signature,
    wait_after,
)

from tests.support.clock import NOON, Clock
from tests.support.fakes import SECRET, aws_error
from tests.support.receivers import Sink, receiver
from tests.support.telling import checked
from tests.support.template import ROOT

SAMPLE = json.loads((ROOT / "events" / "webhook_joined.json").read_text())["Records"][0]


class Queue:
    """The queue, as far as it is told how long to keep something back."""

    def __init__(self) -> None:
        self.waits: list[int] = []
        self.error: Exception | None = None

    def change_message_visibility(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        ReceiptHandle: str,  # noqa: N803
        VisibilityTimeout: int,  # noqa: N803
    ) -> None:
        """Keep a message back."""
        assert (QueueUrl, ReceiptHandle) == ("queue", "receipt")
        if self.error is not None:
            raise self.error
        self.waits.append(VisibilityTimeout)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with receiver() as sink:
        yield sink


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def messenger(sink: Sink, queue: Queue, clock: Clock) -> Messenger:
    wired: Any = queue
    return Messenger(Receiver(sink.url, local=True), lambda: SECRET, wired, "queue", clock)


def message(number: int = 1, *, tries: int = 1) -> dict[str, Any]:
    """A message of the queue, with an event of that number."""
    envelope = json.loads(SAMPLE["body"])
    envelope["detail"]["seq"] = number
    return {
        "messageId": f"m{number}",
        "receiptHandle": "receipt",
        "body": json.dumps(envelope),
        "attributes": {"ApproximateReceiveCount": str(tries)},
    }


# ----------------------------------------------------------------------------------- what is sent


def test_an_event_is_posted_as_it_is_with_its_signature(messenger: Messenger, sink: Sink) -> None:
    assert messenger.deliver([message()]) == []
    (post,) = sink.posts
    assert post.path == "/hook?from=headcount"
    assert checked(post.event) == json.loads(SAMPLE["body"])["detail"]
    assert post.headers["content-type"] == "application/json"
    assert post.headers["headcount-event"] == "joined"
    assert post.headers["headcount-event-id"] == post.event["id"]
    assert post.headers["headcount-signature"].startswith(f"t={NOON // 1000},v1=")
    assert post.is_signed_with(SECRET)
    assert not post.is_signed_with(SECRET + "?")


def test_the_signature_is_that_of_the_documented_text() -> None:
    # $ printf '1795262400.{"a":1}' | openssl dgst -sha256 -hmac 'a secret'
    assert signature("a secret", b'{"a":1}', 1795262400) == (
        "t=1795262400,v1=9e7730855a1270492bf5c6dd9e39dfe8ebca5f8c613a82febaddc88d1fada866"
    )


# ------------------------------------------------------------------------------- what comes again


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_what_was_taken_does_not_come_again(
    messenger: Messenger, sink: Sink, queue: Queue, status: int
) -> None:
    sink.statuses = [status]
    assert messenger.deliver([message()]) == []
    assert queue.waits == []


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 429, 500, 503])
def test_what_was_not_taken_comes_again(
    messenger: Messenger, sink: Sink, queue: Queue, status: int
) -> None:
    sink.statuses = [status]
    assert messenger.deliver([message()]) == ["m1"]
    assert queue.waits == [5]


def test_only_what_was_not_taken_comes_again(messenger: Messenger, sink: Sink) -> None:
    sink.statuses = [204, 500, 204]
    assert messenger.deliver([message(1), message(2), message(3)]) == ["m2"]
    assert len(sink.posts) == 3


def test_a_receiver_that_is_gone_is_not_asked_again(
    messenger: Messenger, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.statuses = [410]
    assert messenger.deliver([message()]) == []
    assert "gone" in caplog.text


def test_nobody_follows_a_redirect(messenger: Messenger, sink: Sink) -> None:
    with receiver() as elsewhere:
        sink.statuses, sink.location = [307], elsewhere.url
        assert messenger.deliver([message()]) == ["m1"]
        assert elsewhere.posts == []


def test_each_try_waits_longer_and_at_most_an_hour() -> None:
    waits = [wait_after(tries) for tries in range(1, 40)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT == 3600


def test_the_wait_goes_by_how_often_it_was_tried(
    messenger: Messenger, sink: Sink, queue: Queue
) -> None:
    sink.statuses = [500]
    messenger.deliver([message(tries=4)])
    assert queue.waits == [40]


def test_a_receiver_that_does_not_answer_is_asked_again(
    queue: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT", 0.05)
    wired: Any = queue
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://localhost:{silent.getsockname()[1]}/"
        slow = Messenger(Receiver(url, local=True), lambda: SECRET, wired, "queue", clock)
        assert slow.deliver([message()]) == ["m1"]
    assert slow.deliver([message()]) == ["m1"]  # nobody listens there any more
    assert queue.waits == [5, 5]


def test_a_queue_that_can_not_be_told_to_wait_waits_as_it_likes(
    messenger: Messenger, sink: Sink, queue: Queue
) -> None:
    sink.statuses = [500]
    queue.error = aws_error("ServiceUnavailable", 503)
    assert messenger.deliver([message()]) == ["m1"]


# ------------------------------------------------------------------------------------- the secret


def test_a_secret_is_read_anew_after_a_while(clock: Clock) -> None:
    stored = [SECRET]
    secret = Secret(lambda: stored[-1], clock)
    assert secret() == SECRET
    stored.append("another secret of more than thirty-two characters")
    assert secret() == SECRET
    clock.advance(SECRET_FOR / 1000)
    assert secret() == stored[-1]


def test_nothing_is_signed_with_what_could_be_guessed(clock: Clock) -> None:
    with pytest.raises(WebhookRefusedError, match="shorter than 32"):
        Secret(lambda: "hunter2", clock)()


def test_without_a_secret_nothing_is_sent_and_everything_comes_again(
    sink: Sink, queue: Queue, clock: Clock
) -> None:
    def unreachable() -> str:
        raise EndpointConnectionError(endpoint_url="https://example.test")

    wired: Any = queue
    messenger = Messenger(Receiver(sink.url, local=True), unreachable, wired, "queue", clock)
    assert messenger.deliver([message()]) == ["m1"]
    assert sink.posts == []


def test_no_log_holds_the_secret_the_signature_or_who_it_was_about(
    messenger: Messenger, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.statuses = [500, 410]
    messenger.deliver([message(1), message(2)])
    logged = repr([vars(record) for record in caplog.records])
    assert "32d00bec02a304b2d44276aa" in logged
    assert SECRET not in logged
    assert sink.posts[0].headers["headcount-signature"] not in logged
    assert sink.posts[0].event["visit"]["visitorId"] not in logged


# --------------------------------------------------------------------------- where nothing is sent


@pytest.mark.parametrize(
    "url", ["http://hooks.example.test/", "ftp://hooks.example.test/", "", "https:///path"]
)
def test_nothing_is_sent_in_clear(url: str) -> None:
    with pytest.raises(WebhookRefusedError, match="https"):
        Receiver(url).post({}, b"{}")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",  # the function's own machine
        "169.254.169.254",  # an instance's credentials
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - nothing binds to it
        "224.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1",
        "fd00::1",
    ],
)
def test_nothing_is_sent_into_a_network(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolve_to(monkeypatch, "93.184.216.34", address)
    with pytest.raises(WebhookRefusedError, match="no public address"):
        Receiver("https://hooks.example.test/").post({}, b"{}")


def test_a_local_receiver_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "93.184.216.34")
    with pytest.raises(WebhookRefusedError):
        Receiver("http://hooks.example.test/", local=True).post({}, b"{}")


def test_what_was_looked_up_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that says something else when it is asked again leads nobody elsewhere."""
    resolve_to(monkeypatch, "93.184.216.34", "93.184.216.35")
    asked: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address)
        raise OSError("nobody there")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(OSError, match="nobody there"):
        Receiver("https://hooks.example.test:8443/").post({}, b"{}")
    assert asked == [("93.184.216.34", 8443), ("93.184.216.35", 8443)]


def test_who_speaks_no_tls_is_told_nothing(sink: Sink) -> None:
    with pytest.raises(ssl.SSLError):
        Receiver(sink.url.replace("http:", "https:"), local=True).post({}, b"{}")
    assert sink.posts == []


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name be at these addresses."""

    def found(host: str, port: int, **_: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)
