"""Prometheus: the numbers of live spaces, in the text format that it scrapes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from headcount.model.access import Action, Scope, covers
from headcount.model.space import kind_of
from headcount.times import SECOND
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Reply, Route, Who

if TYPE_CHECKING:
    from headcount.model.headcount import Headcount
    from headcount.usecases.read import Scrape

shape_error = respond_error

MAX_SPACES = 1_000
"""Spaces with series of their own, the largest ones; the totals of the kinds include all."""

_GAUGE, _COUNTER = "gauge", "counter"
_HEADERS = {
    "content-type": "text/plain; version=0.0.4; charset=utf-8",
    "cache-control": "no-store",
}

METRICS: Mapping[str, tuple[str, str]] = {
    "headcount_people": (_GAUGE, "Distinct people in the space, as last published."),
    "headcount_sessions": (_GAUGE, "Sessions in the space: tabs and app instances."),
    "headcount_views_total": (_COUNTER, "Joins of the space, ever."),
    "headcount_peak_people": (_GAUGE, "The most people who were ever in the space at once."),
    "headcount_published_timestamp_seconds": (_GAUGE, "When the numbers last changed."),
    "headcount_kind_people": (
        _GAUGE,
        "People in all live spaces of the kind; who is in two of them counts twice.",
    ),
    "headcount_kind_sessions": (_GAUGE, "Sessions in all live spaces of the kind."),
    "headcount_kind_spaces": (_GAUGE, "Spaces of the kind with anyone in them."),
    "headcount_recount_delay_seconds": (
        _GAUGE,
        "How long the oldest of the changes waited that the largest space's last recount added.",
    ),
    "headcount_sampled_timestamp_seconds": (
        _GAUGE,
        "The last full minute of which the sweep sampled the largest space.",
    ),
}
"""Every metric: its type, and what it is."""

_Samples = Iterator[tuple[str, Mapping[str, str], float]]


def metrics(call: Call) -> Reply:
    """For Prometheus: the 1,000 largest live spaces that the token may read, and kinds' totals."""
    allowed = call.allowed_spaces(Action.READ)
    scrape = call.services.reader.scrape(lambda space: covers(allowed, space))
    kinds = [name for name in call.services.settings.kinds.names if covers(allowed, f"{name}:*")]
    return Reply(text=text_of([*_of_spaces(scrape), *_of_kinds(scrape, kinds)]), headers=_HEADERS)


def text_of(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> str:
    """Samples (name, labels, value) in Prometheus's text format: all of a metric together, in the
    order of ``METRICS``."""
    lines: dict[str, list[str]] = {}
    for name, labels, value in samples:
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.setdefault(name, []).append(f"{name}{{{pairs}}} {value!r}")
    return "".join(
        "\n".join((f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines[name], ""))
        for name, (kind, text) in METRICS.items()
        if name in lines
    )


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _labels(space: str) -> dict[str, str]:
    return {"space": space, "kind": kind_of(space)}


def _of_spaces(scrape: Scrape) -> _Samples:
    for head in scrape.heads[:MAX_SPACES]:
        labels = _labels(head.space)
        yield "headcount_people", labels, head.tally.people
        yield "headcount_sessions", labels, head.tally.sessions
        yield "headcount_views_total", labels, head.views.total
        if head.peak is not None:
            yield "headcount_peak_people", labels, head.peak.people
        yield "headcount_published_timestamp_seconds", labels, head.as_of / SECOND
    if (recount := scrape.recount) is not None and recount.cause is not None:
        delay = max(0, recount.counted_at - recount.cause.at) / SECOND
        yield "headcount_recount_delay_seconds", _labels(recount.space), delay
    if (sample := scrape.sample) is not None:
        yield "headcount_sampled_timestamp_seconds", _labels(sample.space), sample.at / SECOND


def _of_kinds(scrape: Scrape, whole: Collection[str]) -> _Samples:
    """The totals of the kinds that are read ``whole``, and of those with a live space."""
    by_kind: dict[str, list[Headcount]] = {kind: [] for kind in whole}
    for head in scrape.heads:
        by_kind.setdefault(kind_of(head.space), []).append(head)
    for kind, heads in by_kind.items():
        labels = {"kind": kind}
        yield "headcount_kind_people", labels, sum(head.tally.people for head in heads)
        yield "headcount_kind_sessions", labels, sum(head.tally.sessions for head in heads)
        yield "headcount_kind_spaces", labels, len(heads)


ROUTES = [Route("GET", "/metrics", metrics, Who.ADMIN, str, needs=Scope(Action.READ, None))]
