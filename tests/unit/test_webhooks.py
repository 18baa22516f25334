"""Webhooks: content and signature, retries, and refused addresses."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from headcount.errors import UnansweredError
from headcount.settings import Settings
from headcount.usecases import webhook as webhooks
from headcount.usecases.chat import CHATS, chat_of
from headcount.usecases.redelivery import Redelivery
from headcount.usecases.webhook import (
    LONGEST_WAIT,
    SECRET_FOR,
    Receiver,
    WebhookRefusedError,
    WebhookSecret,
    WebhookSender,
    retry_wait,
    signature,
)

from lab.harness.clock import NOON, Clock
from lab.harness.consumer import validated
from lab.harness.fakes import SECRET, aws_error
from lab.harness.template import ROOT
from tests.support.receivers import Sink, receiver

SAMPLE = json.loads((ROOT / "events" / "webhook_joined.json").read_text())["Records"][0]


class Queue:
    """A queue that records how long messages stay invisible."""

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
        """Make a message invisible."""
        assert (QueueUrl, ReceiptHandle) == ("https://sqs.test/1/WebhookQueue", "receipt")
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
def webhook_sender(sink: Sink, queue: Queue, clock: Clock) -> WebhookSender:
    receives = Receiver(sink.url, local=True)
    return WebhookSender(receives, lambda: SECRET, redelivery(queue), clock)


def redelivery(queue: Any) -> Redelivery:
    """The redelivery that uses this queue."""
    urls = Settings({"WEBHOOK_QUEUE": "https://sqs.test/1/WebhookQueue"})
    return Redelivery(lambda: queue, urls.queue_of, lambda: 0.0)


def message(number: int = 1, *, tries: int = 1) -> dict[str, Any]:
    """A message of the queue, with an event of that number."""
    envelope = json.loads(SAMPLE["body"])
    envelope["detail"]["seq"] = number
    return {
        "messageId": f"m{number}",
        "receiptHandle": "receipt",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:WebhookQueue",
        "body": json.dumps(envelope),
        "attributes": {"ApproximateReceiveCount": str(tries)},
    }


# ------------------------------------------------------------------------------------------ content


def test_an_event_is_posted_unchanged_with_its_signature(
    webhook_sender: WebhookSender, sink: Sink
) -> None:
    assert webhook_sender.deliver([message()]) == []
    (post,) = sink.posts
    assert post.path == "/hook?from=headcount"
    assert validated(post.event) == json.loads(SAMPLE["body"])["detail"]
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


# -------------------------------------------------------------------------------------------- chats

MILESTONE = {
    "type": "milestone",
    "alert": {"name": "full", "people": 120, "threshold": 100},
}
SPIKE = {
    "type": "spike",
    "alert": {
        "name": "rush",
        "people": 40,
        "before": 15,
        "factor": 2,
        "minutes": 5,
        "atLeast": 10,
    },
}


def alert(fields: dict[str, Any]) -> dict[str, Any]:
    """A message of the queue, with an alert."""
    sent = message()
    envelope = json.loads(sent["body"])
    del envelope["detail"]["visit"]
    envelope["detail"] |= {"version": 7, **fields}
    validated(envelope["detail"])
    return {**sent, "body": json.dumps(envelope)}


@pytest.mark.parametrize(
    ("url", "chat"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "slack"),
        ("https://HOOKS.slack-gov.com/services/T0/B0/x", "slack"),
        ("https://acme.webhook.office.com/webhookb2/a@b/IncomingWebhook/c/d", "teams"),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/a?sig=b#teams", "teams"),
        ("https://a.environment.api.powerplatform.com/workflows/a?sig=b#teams", "teams"),
        ("https://chat.example.test/hooks/a#slack", "slack"),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/a?sig=b", None),
        ("https://hooks.slack.com/services/T0/B0/x#events", None),
        ("https://hooks.slack.com.example.test/services", None),
        ("https://example.test/hooks.slack.com/#part", None),
        ("https://webhook.office.com.example.test/", None),
    ],
)
def test_a_chat_is_known_by_its_host_or_by_the_fragment(url: str, chat: str | None) -> None:
    assert chat_of(url) == chat


def test_slack_gets_the_alerts_as_text_and_nothing_else(
    sink: Sink, queue: Queue, clock: Clock
) -> None:
    def unread() -> str:
        raise AssertionError("nothing is signed")

    slack = WebhookSender(
        Receiver(f"{sink.url}#slack", local=True), unread, redelivery(queue), clock
    )
    assert slack.deliver([message(), alert(MILESTONE), alert(SPIKE)]) == []
    assert [json.loads(post.body) for post in sink.posts] == [
        {"text": "`site:main: 120 people are here, 100 or more (rule full)`"},
        {"text": "`site:main: 40 people are here, and 15 were 5 minutes ago (rule rush)`"},
    ]
    assert {post.path for post in sink.posts} == {"/hook?from=headcount"}
    assert not [name for name in sink.posts[0].headers if name.startswith("headcount")]


def test_teams_gets_the_alerts_as_an_adaptive_card(sink: Sink, queue: Queue, clock: Clock) -> None:
    receives = Receiver(f"{sink.url}#teams", local=True)
    sender = WebhookSender(receives, lambda: SECRET, redelivery(queue), clock)
    assert sender.deliver([message(), alert(MILESTONE)]) == []
    (post,) = sink.posts
    (attachment,) = post.event["attachments"]
    assert post.event["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["type"] == "AdaptiveCard"
    (block,) = attachment["content"]["body"]
    assert block["inlines"] == [
        {"type": "TextRun", "text": "site:main: 120 people are here, 100 or more (rule full)"}
    ]


def test_a_chat_that_refuses_an_alert_gets_it_again(sink: Sink, queue: Queue, clock: Clock) -> None:
    receives = Receiver(f"{sink.url}#slack", local=True)
    sender = WebhookSender(receives, lambda: SECRET, redelivery(queue), clock)
    sink.statuses = [429]
    assert sender.deliver([alert(MILESTONE)]) == ["m1"]
    assert queue.waits == [5]


def test_no_text_of_an_alert_is_markup() -> None:
    event = {"space": "site:<!here>&", **MILESTONE}
    assert CHATS["slack"](event)["text"].startswith("`site:&lt;!here&gt;&amp;: ")


# --------------------------------------------------------------------------------------- redelivery


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_an_accepted_event_is_not_redelivered(
    webhook_sender: WebhookSender, sink: Sink, queue: Queue, status: int
) -> None:
    sink.statuses = [status]
    assert webhook_sender.deliver([message()]) == []
    assert queue.waits == []


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 429, 500, 503])
def test_a_refused_event_is_redelivered(
    webhook_sender: WebhookSender, sink: Sink, queue: Queue, status: int
) -> None:
    sink.statuses = [status]
    assert webhook_sender.deliver([message()]) == ["m1"]
    assert queue.waits == [5]


def test_only_refused_events_are_redelivered(webhook_sender: WebhookSender, sink: Sink) -> None:
    sink.statuses = [204, 500, 204]
    assert webhook_sender.deliver([message(1), message(2), message(3)]) == ["m2"]
    assert len(sink.posts) == 3


def test_a_receiver_that_is_gone_is_not_retried(
    webhook_sender: WebhookSender, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.statuses = [410]
    assert webhook_sender.deliver([message()]) == []
    assert "gone" in caplog.text


def test_redirects_are_not_followed(webhook_sender: WebhookSender, sink: Sink) -> None:
    with receiver() as elsewhere:
        sink.statuses, sink.location = [307], elsewhere.url
        assert webhook_sender.deliver([message()]) == ["m1"]
        assert elsewhere.posts == []


def test_each_attempt_waits_longer_and_at_most_an_hour() -> None:
    waits = [retry_wait(tries) for tries in range(1, 40)]
    assert waits[:4] == [5, 10, 20, 40]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT == 3600


def test_the_wait_depends_on_the_number_of_attempts(
    webhook_sender: WebhookSender, sink: Sink, queue: Queue
) -> None:
    sink.statuses = [500]
    webhook_sender.deliver([message(tries=4)])
    assert queue.waits == [40]


def test_a_receiver_that_does_not_answer_is_asked_again(
    queue: Queue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://localhost:{silent.getsockname()[1]}/"
        receives = Receiver(url, local=True)
        slow = WebhookSender(receives, lambda: SECRET, redelivery(queue), clock)
        assert slow.deliver([message()]) == ["m1"]
    assert slow.deliver([message()]) == ["m1"]  # its receiver is gone
    assert queue.waits == [5, 5]


def test_without_access_to_the_queue_its_own_timeout_applies(
    webhook_sender: WebhookSender, sink: Sink, queue: Queue
) -> None:
    sink.statuses = [500]
    queue.error = aws_error("ServiceUnavailable", 503)
    assert webhook_sender.deliver([message()]) == ["m1"]


# --------------------------------------------------------------------------------------- the secret


def test_a_secret_is_read_again_after_a_while(clock: Clock) -> None:
    stored = [SECRET]
    secret = WebhookSecret(lambda: stored[-1], clock)
    assert secret() == SECRET
    stored.append("another secret of more than thirty-two characters")
    assert secret() == SECRET
    clock.advance(SECRET_FOR / 1000)
    assert secret() == stored[-1]


def test_a_known_secret_is_used_while_it_can_not_be_read(clock: Clock) -> None:
    stored = [SECRET]
    reads: list[int] = []

    def read() -> str:
        reads.append(clock())
        if not stored:
            raise UnansweredError("no answer")
        return stored[-1]

    secret = WebhookSecret(read, clock)
    assert secret() == SECRET
    stored.clear()
    clock.advance(SECRET_FOR / 1000)
    for _ in range(6):
        assert secret() == SECRET
        clock.advance(30)
    assert len(reads) == 1 + 3  # once a minute
    stored.append("another secret of more than thirty-two characters")
    assert secret() == stored[-1]


def test_nothing_is_signed_with_a_guessable_secret(clock: Clock) -> None:
    with pytest.raises(WebhookRefusedError, match="shorter than 32"):
        WebhookSecret(lambda: "hunter2", clock)()


def test_without_a_secret_nothing_is_sent_and_everything_is_redelivered(
    sink: Sink, queue: Queue, clock: Clock
) -> None:
    def unreachable() -> str:
        raise EndpointConnectionError(endpoint_url="https://example.test")

    receives = Receiver(sink.url, local=True)
    webhook_sender = WebhookSender(receives, unreachable, redelivery(queue), clock)
    assert webhook_sender.deliver([message()]) == ["m1"]
    assert sink.posts == []


def test_no_log_contains_the_secret_the_signature_or_a_person(
    webhook_sender: WebhookSender, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.statuses = [500, 410]
    webhook_sender.deliver([message(1), message(2)])
    logged = repr([vars(record) for record in caplog.records])
    assert "32d00bec02a304b2d44276aa" in logged
    assert SECRET not in logged
    assert sink.posts[0].headers["headcount-signature"] not in logged
    assert sink.posts[0].event["visit"]["visitorId"] not in logged


# -------------------------------------------------------------------------------- refused addresses


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
def test_nothing_is_sent_to_a_private_network(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolve_to(monkeypatch, "93.184.216.34", address)
    with pytest.raises(WebhookRefusedError, match="not a public address"):
        Receiver("https://hooks.example.test/").post({}, b"{}")


def test_a_local_receiver_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "93.184.216.34")
    with pytest.raises(WebhookRefusedError):
        Receiver("http://hooks.example.test/", local=True).post({}, b"{}")


def test_the_connection_uses_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves differently a second time can't redirect the request."""
    resolve_to(monkeypatch, "93.184.216.34", "93.184.216.35")
    asked: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address)
        raise OSError("nobody there")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(OSError, match="nobody there"):
        Receiver("https://hooks.example.test:8443/").post({}, b"{}")
    assert asked == [("93.184.216.34", 8443), ("93.184.216.35", 8443)]


def test_a_receiver_without_tls_gets_nothing(sink: Sink) -> None:
    with pytest.raises(ssl.SSLError):
        Receiver(sink.url.replace("http:", "https:"), local=True).post({}, b"{}")
    assert sink.posts == []


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name resolve to these addresses."""

    def found(host: str, port: int, **_: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)
