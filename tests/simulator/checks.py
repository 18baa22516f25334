"""What must hold whenever everything has come to rest."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from headcount.headcounts import periods_of
from headcount.store.attributes import decode
from headcount.times import DAY, HOUR, SECOND, add_days, day_of, day_start

from tests.simulator import faults
from tests.simulator.simulation import BINNED_WITHIN, FEW, Simulation
from tests.support.telling import Follower, once

_HIDDEN_LEASE = 180 * SECOND
_LISTED = 0.3
"""How often it is worth asking who is here, beside how many."""

Rows = list[dict[str, Any]]


def at_rest(simulation: Simulation) -> None:
    """People, sessions, facets, views, peaks, visits and dashboards are the oracle's."""
    simulation.settle()
    _without_cleanup(simulation)
    simulation.calm()
    simulation.note("CHECK")
    for space in simulation.used:
        body = simulation.get(f"/v1/spaces/{space}")
        if body:
            _numbers(simulation, space, body)
            _facets(simulation, space, body)
            _peaks(simulation, space, body)
            _views(simulation, space, body)
            _engagement(simulation, space, body)
            _dashboards(simulation, space, body)
            if simulation.random.random() < _LISTED:
                _viewers(simulation, space)
        if simulation.tells:
            _events(simulation, space)
            _followed(simulation, space)
    _live_spaces(simulation)
    _joins(simulation)
    simulation.storm()


def _without_cleanup(simulation: Simulation) -> None:
    """Where nothing was dropped and no lease ran out, the streams alone make the numbers right."""
    simulation.note("CHECK without the cleanup")
    for space in simulation.used:
        if simulation.in_need or simulation.oracle.lapsed(space, simulation.loop.now):
            continue
        body = simulation.get(f"/v1/spaces/{space}")
        if body and not simulation.oracle.lapsed(space, simulation.loop.now):
            _numbers(simulation, space, body)
            _facets(simulation, space, body)


def at_the_end(simulation: Simulation) -> None:
    """Everybody leaves: the ledger holds every visit as it was, and every day its numbers."""
    at_rest(simulation)
    simulation.note("END")
    simulation.faults.on = False
    for visitor in simulation.visitors:
        visitor.wanted = False
    simulation.wait(_HIDDEN_LEASE + 2 * SECOND, without_cleanup=True)
    _sweep(simulation)
    simulation.wait(BINNED_WITHIN, without_cleanup=True)
    _sweep(simulation)
    if left := _rows(simulation, "presence"):
        simulation.report(f"{len(left)} rows of Presence were not binned")
    for space in simulation.used:
        body = simulation.get(f"/v1/spaces/{space}")
        if body and (body["people"] or body["sessions"] or body["facets"]):
            simulation.report(f"{space} is empty, and said to hold {body['people']}")
        if body:
            _views(simulation, space, body)
            _engagement(simulation, space, body)
            _ledger(simulation, space)
            _average(simulation, space, body)
            _dashboards(simulation, space, body)
            if simulation.tells:
                _events(simulation, space)
    _stays(simulation)
    for dashboard in simulation.dashboards:
        dashboard.leave()
    tomorrow = day_start(add_days(day_of(simulation.loop.now), 1))
    simulation.wait(tomorrow + HOUR - simulation.loop.now, without_cleanup=True)
    simulation.expire(lag=simulation.random.choice((0, 2 * DAY // SECOND)))
    _days(simulation)


def _sweep(simulation: Simulation) -> None:
    simulation.minutes.sweep()
    simulation.wait(10 * SECOND, without_cleanup=True)


def _rows(simulation: Simulation, role: str) -> Rows:
    return [decode(item) for item in simulation.store.client.scan(TableName=role)["Items"]]


def _differ(simulation: Simulation, what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        simulation.report(f"{what} should be {wanted}, and is {found}")


def _numbers(simulation: Simulation, space: str, body: Any) -> None:
    wanted = simulation.oracle.numbers(space, simulation.loop.now)
    _differ(simulation, space, {name: body[name] for name in wanted}, wanted)


def _facets(simulation: Simulation, space: str, body: Any) -> None:
    wanted, unclear = simulation.oracle.facets(space, simulation.loop.now)
    found = {
        facet: {one["value"]: (one["count"], one["people"]) for one in values}
        for facet, values in body["facets"].items()
    }
    for facets in (wanted, found):
        for facet in unclear & facets.keys():
            facets[facet] = {value: (count, 0) for value, (count, _) in facets[facet].items()}
    _differ(simulation, f"the facets of {space}", found, wanted)


def _peaks(simulation: Simulation, space: str, body: Any) -> None:
    published = simulation.published[space]
    highest = max((version.people for version in published), default=0)
    found = body["peak"]["people"] if body["peak"] else 0
    _differ(simulation, f"the peak of {space}", found, highest)
    sessions = max((version.sessions for version in published), default=0)
    _differ(simulation, f"the sessions' peak of {space}", body["peakSessions"], sessions)
    _differ(simulation, f"the version of {space}", body["version"], len(published))


def _views(simulation: Simulation, space: str, body: Any) -> None:
    """The views are the ledger's rows, and the ledger knows every visit but those dropped."""
    rows = [row for row in _rows(simulation, "visits") if row["space"] == space]
    began = [row for row in rows if row["space_day"].endswith(day_of(row["joined_at"]))]
    views = Counter(period for row in began for period in periods_of(day_of(row["joined_at"])))
    day, week, month = periods_of(day_of(simulation.loop.now))
    wanted = {
        "total": len(began),
        "today": views[day],
        "week": views[week],
        "month": views[month],
    }
    # As of the version: what was counted and not published yet does not count for less.
    _differ(simulation, f"the views of {space}", body["views"], wanted)
    known = {row["id"] for row in began}
    visits = simulation.journal.of(space)
    if unknown := known - visits.keys():
        simulation.report(f"the ledger of {space} has visits that never were: {sorted(unknown)}")
    if missing := visits.keys() - known - simulation.journal.dropped:
        simulation.report(f"the ledger of {space} misses {sorted(missing)}")


def _engagement(simulation: Simulation, space: str, body: Any) -> None:
    chats = sum(
        row.get("engagement", {}).get("chat", 0) for row in simulation.journal.of(space).values()
    )
    if simulation.journal.dropped:
        return
    found = body["engagement"].get("chat", 0)
    # A version may find a session in the shard it left and in the one it came to, and what it says
    # of engagement never falls again.
    if space not in simulation.journal.moved or found < chats:
        _differ(simulation, f"the chats of {space}", found, chats)


def _dashboards(simulation: Simulation, space: str, body: Any) -> None:
    for dashboard in simulation.dashboards:
        if dashboard.gone or space not in dashboard.wanted:
            continue
        connection = dashboard.connection
        frame = connection.frames.get(space) if connection and connection.open else None
        if frame is None:
            simulation.report(f"{dashboard.name} has not heard {space}")
        elif frame["version"] and _lasting(frame["data"]) != _lasting(body):
            simulation.report(
                f"{dashboard.name} shows {space} as of {frame['version']}, not {body['version']}"
            )


def _lasting(body: Any) -> Any:
    """What a version says on any day: its views begin anew at midnight."""
    return {**body, "views": body["views"]["total"]}


def _viewers(simulation: Simulation, space: str) -> None:
    here = simulation.oracle.here(space, simulation.loop.now)
    listed = simulation.get(f"/v1/spaces/{space}/viewers", limit="100")
    found = sorted(one["sessionId"] for one in listed.get("viewers", []))
    _differ(simulation, f"who is in {space}", found, sorted(said.session for said, _ in here))


def _live_spaces(simulation: Simulation) -> None:
    now = simulation.loop.now
    wanted = sorted(space for space in simulation.used if simulation.oracle.here(space, now))
    listed = simulation.get("/v1/spaces").get("spaces", [])
    _differ(simulation, "the live spaces", sorted(one["space"] for one in listed), wanted)


def _joins(simulation: Simulation) -> None:
    """As many visits and beats were written as clients know of."""
    for key, stay in simulation.oracle.stays.items():
        visits = simulation.journal.sessions[key]
        if not stay.joins[0] <= len(visits) <= stay.joins[1]:
            simulation.report(f"{key} joined {stay.joins} times, and {len(visits)} were written")
        beats = sum(
            sum(simulation.journal.visits[visit].get("beats", {}).values()) for visit in visits
        )
        if not stay.beats[0] <= beats <= stay.beats[1]:
            simulation.report(f"{key} beat {stay.beats} times, and {beats} were written")


def _ledger(simulation: Simulation, space: str) -> None:
    """Every visit is in the ledger as it was when it ended, in each day it beat in."""
    rows = {
        (row["id"], row["space_day"].rpartition("#")[2]): row
        for row in _rows(simulation, "visits")
        if row["space"] == space
    }
    wanted = {
        (id_, day)
        for id_, row in simulation.journal.of(space).items()
        for day in {day_of(row["joined_at"]), *row.get("beats", {})}
    }
    excused = simulation.journal.excused
    for id_, day in sorted(wanted ^ rows.keys()):
        if id_ not in excused:
            word = "misses" if (id_, day) in wanted else "should not have"
            simulation.report(f"the ledger of {space} {word} {id_} on {day}")
    for (id_, day), row in rows.items():
        visit = simulation.journal.visits[id_]
        if id_ in excused:
            continue
        for name in ("ended_at", "ended_by", "beats", "visitor", "session", "joined_at"):
            what = f"{name} of {id_} in the ledger of {space} on {day}"
            _differ(simulation, what, row.get(name), visit.get(name))
        users = {row.get("user"), *row.get("former_users", ())} - {None}
        _differ(simulation, f"the users of {id_} on {day}", users, {*simulation.journal.users[id_]})


def _events(simulation: Simulation, space: str) -> None:
    """What was told, by its numbers, is each join and each leave once, and each milestone."""
    try:
        events = once(simulation.bus.events, space)
    except AssertionError as error:
        simulation.report(f"what was told of {space}: {error}")
        return
    began = [event["visit"]["id"] for event in events if event["type"] == "joined"]
    ended = [event["visit"]["id"] for event in events if event["type"] == "left"]
    visits = simulation.journal.of(space)
    unclear = simulation.journal.dropped | {
        record["dynamodb"]["NewImage"]["id"]["S"]
        for record in simulation.untold
        if "id" in record["dynamodb"]["NewImage"]
    }
    over = [visit for visit, row in visits.items() if "ended_at" in row]
    for what, told, wanted in (("joins", began, [*visits]), ("leaves", ended, over)):
        found = sorted(visit for visit in told if visit not in unclear)
        _differ(simulation, f"the {what} told of {space}", found, sorted({*wanted} - unclear))
    here: set[str] = set()
    for event in events:
        if event["type"] == "joined":
            here.add(event["visit"]["id"])
        elif event["type"] == "left" and event["visit"]["id"] not in here | unclear:
            simulation.report(f"{event['visit']['id']} left {space} before it joined")
    published = simulation.published[space]
    risen = [
        version.version
        for before, version in zip([None, *published], published, strict=False)
        if version.people >= FEW and (before is None or before.people < FEW)
    ]
    lost = any("news" in record["dynamodb"]["NewImage"] for record in simulation.untold)
    if not lost:
        told = [event["version"] for event in events if event["type"] == "milestone"]
        _differ(simulation, f"the milestones told of {space}", sorted(told), risen)


def _followed(simulation: Simulation, space: str) -> None:
    """Whoever took a snapshot a while ago and heard all since knows what one tells who takes it
    now: which visits go on."""
    running = {
        visit for visit, row in simulation.journal.of(space).items() if "ended_at" not in row
    }
    unclear = simulation.journal.dropped
    if space in simulation.followers and not simulation.untold:
        follower = simulation.followers[space]
        for event in simulation.random.sample(simulation.bus.events, len(simulation.bus.events)):
            if event["space"] == space:
                follower.take(event)
        what = f"who is in {space} by what was told"
        _differ(simulation, what, follower.here - unclear, running - unclear)
    body = simulation.get(f"/v1/spaces/{space}/snapshot", limit="100")
    if body:
        visits = {visit["id"] for visit in body["visits"]}
        _differ(simulation, f"who is in {space} by a snapshot", visits, running)
        simulation.followers[space] = Follower(body["eventSeq"], visits)


def _average(simulation: Simulation, space: str, body: Any) -> None:
    if simulation.journal.dropped:
        return  # a visit whose end no count saw may have been binned before another recount
    seconds = []
    for row in simulation.journal.of(space).values():
        end = row["ended_at"] if row["ended_by"] == "leave" else row["last_seen"]
        seconds.append(max(0, end - row["joined_at"]) // SECOND)
    wanted = round(sum(seconds) / len(seconds)) if seconds else None
    _differ(simulation, f"the mean stay in {space}", body["avgSeconds"], wanted)


def _stays(simulation: Simulation) -> None:
    """The last visit of each session ended how and when its client says."""
    for key, stay in simulation.oracle.stays.items():
        visits = simulation.journal.sessions[key]
        if not visits or stay.said is None:
            continue
        row = simulation.journal.visits[visits[-1]]
        first, last = stay.said.ends
        if stay.left is None:
            ended_by, bounds = "expiry", (first, last)
        elif stay.left[1] < first:
            ended_by, bounds = "leave", stay.left
        else:
            continue  # the lease may have run out before the leave came
        if stay.joins[0] != stay.joins[1]:
            continue  # a beat and a leave crossed
        good = row["ended_by"] == ended_by and bounds[0] <= row["ended_at"] <= bounds[1]
        if not good:
            simulation.report(
                f"{key} ended by {ended_by} in {bounds}, and was written as ended by "
                f"{row['ended_by']} at {row['ended_at']}"
            )


def _days(simulation: Simulation) -> None:
    """Each day's row, twice made, is what was written in that day."""
    dates = sorted({day for row in simulation.journal.visits.values() for day in row["beats"]})
    for date in dates:
        event = {"date": date}
        for again in range(simulation.random.choice((1, 1, 2))):
            simulation.loop.start(partial(simulation.fleet.invoke, "daily", event))
            simulation.faults.injected[faults.DAILY_TWICE] += again
        simulation.wait(5 * SECOND, without_cleanup=True)
    for space in simulation.used:
        found = {row["date"]: row for row in _day_rows(simulation, space, dates)}
        excused = {
            row["session"]
            for id_, row in simulation.journal.of(space).items()
            if id_ in simulation.journal.excused
        }
        if excused:
            continue
        for date in dates:
            wanted = simulation.journal.day(space, date)
            if not wanted["beats"]:
                _differ(simulation, f"{date} of {space}", found.get(date), None)
                continue
            row = found.get(date, {})
            _differ(
                simulation, f"{date} of {space}", {name: row.get(name) for name in wanted}, wanted
            )
            _differ(
                simulation,
                f"the peak of {space} on {date}",
                row.get("peak"),
                _peak(simulation, space, date),
            )
            _differ(
                simulation,
                f"the mean of {space} on {date}",
                row.get("avgSeconds"),
                _mean(simulation, space, date),
            )


def _day_rows(simulation: Simulation, space: str, dates: list[str]) -> Rows:
    if not dates:
        return []
    query = {"from": dates[0], "to": dates[-1]}
    rows: Rows = simulation.get(f"/v1/spaces/{space}/days", **query).get("days", [])
    return rows


def _peak(simulation: Simulation, space: str, date: str) -> int:
    """The highest of the day's versions, and of the one that the day began with."""
    highest = 0
    for version in simulation.published[space]:
        day = day_of(version.at)
        if day < date:
            highest = version.people
        elif day == date:
            highest = max(highest, version.people)
    return highest


def _mean(simulation: Simulation, space: str, date: str) -> int:
    start, end = day_start(date), day_start(date) + DAY
    spent: list[int] = [
        max(0, min(row["ended_at"], end) - max(row["joined_at"], start))
        for row in simulation.journal.of(space).values()
        if row["beats"].get(date)
    ]
    return round(sum(spent) / len(spent) / SECOND)
