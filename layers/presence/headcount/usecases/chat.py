"""Alerts as messages of Slack and of Teams, which a webhook's address may lead to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

Event = Mapping[str, Any]

_EVENTS = "events"
_SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
_TEAMS_HOSTS = ".webhook.office.com"


def chat_of(url: str) -> str | None:
    """The chat that a webhook's address leads to: ``slack`` or ``teams``; None: no chat.

    By its host, where that serves nothing else; otherwise by the fragment, which is never sent:
    ``#slack``, ``#teams`` or ``#events``. A workflow of Power Automate needs ``#teams``: others at
    the same hosts take any JSON.
    """
    parts = urlsplit(url)
    if parts.fragment in {*CHATS, _EVENTS}:
        return None if parts.fragment == _EVENTS else parts.fragment
    host = parts.hostname or ""
    if host in _SLACK_HOSTS:
        return "slack"
    return "teams" if host.endswith(_TEAMS_HOSTS) else None


def sentence_of(event: Event) -> str:
    """What an alert says."""
    alert = event["alert"]
    people, rule = alert["people"], f"(rule {alert['name']})"
    here = f"{event['space']}: {people} {'person is' if people == 1 else 'people are'} here"
    if event["type"] == "milestone":
        return f"{here}, {alert['threshold']} or more {rule}"
    return f"{here}, and {alert['before']} were {alert['minutes']} minutes ago {rule}"


def _slack(event: Event) -> dict[str, Any]:
    """As https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks has it. In a
    span of code, Slack takes nothing for an emoji or markup but the three signs to be escaped."""
    text = sentence_of(event).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": f"`{text}`"}


def _teams(event: Event) -> dict[str, Any]:
    """A message with an Adaptive Card, which workflows and connectors take. A run of text has no
    markup."""
    run = {"type": "TextRun", "text": sentence_of(event)}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [{"type": "RichTextBlock", "inlines": [run]}],
    }
    content = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [content]}


CHATS: Mapping[str, Callable[[Event], dict[str, Any]]] = {"slack": _slack, "teams": _teams}
"""The forms of an alert, by chat."""
