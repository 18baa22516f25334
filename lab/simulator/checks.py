"""What must hold when the simulation is at rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from itertools import combinations, zip_longest
from typing import Any

from headcount.model.headcount import periods_of
from headcount.model.people import MOST_PEOPLE
from headcount.model.session import person_of
from headcount.store.attributes import decode
from headcount.times import (
    CLOCKS_DIFFER,
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    add_days,
    day_of,
    day_start,
    parse_iso,
)

from lab.harness.consumer import Follower, by_number
from lab.simulator import faults
from lab.simulator.simulation import BINNED_WITHIN, FEW, ROLL_UPS, Simulation, rollup_id

_HIDDEN_LEASE = 180 * SECOND
_ERASED_WITHIN = 8 * HOUR
_PAUSE = 5 * MINUTE  # between two alerts of a rule
_RETURNS = 12  # of a space, so that they can be tried in all combinations
_LISTED = 0.3
"""The share of checks that also list the sessions."""

Rows = list[dict[str, Any]]


def at_rest(simulation: Simulation) -> None:
    """People, sessions, facets, views, peaks, visits and dashboards match the oracle."""
    simulation.settle()
    _without_cleanup(simulation)
    simulation.run_cleanup()
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
            _listeners(simulation, space, body)
            if simulation.random.random() < _LISTED:
                _viewers(simulation, space)
        if simulation.has_bus:
            _events(simulation, space)
            _followed(simulation, space)
    if simulation.look_ups:
        _people(simulation)
    _rolled_up(simulation)
    _live_spaces(simulation)
    _joins(simulation)
    simulation.resume_faults()


def _without_cleanup(simulation: Simulation) -> None:
    """If nothing was dropped and no lease ran out, the numbers are right without the cleanup."""
    simulation.note("CHECK without the cleanup")
    for space in simulation.used:
        if simulation.needs_cleanup or simulation.oracle.lapsed(space, simulation.loop.now):
            continue
        body = simulation.get(f"/v1/spaces/{space}")
        if body and not simulation.oracle.lapsed(space, simulation.loop.now):
            _numbers(simulation, space, body)
            _facets(simulation, space, body)
    lapsed = any(simulation.oracle.lapsed(one, simulation.loop.now) for one in simulation.used)
    if not simulation.needs_cleanup and not lapsed:
        _rolled_up(simulation, listed=False)


def at_the_end(simulation: Simulation) -> None:
    """Let all visitors go; the ledger has every visit, and every day its numbers."""
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
        simulation.report(f"{len(left)} rows of Presence were not deleted")
    for space in simulation.used:
        body = simulation.get(f"/v1/spaces/{space}")
        if body and (body["people"] or body["sessions"] or body["facets"]):
            simulation.report(f"{space} is empty, but has {body['people']} people")
        if body:
            _views(simulation, space, body)
            _engagement(simulation, space, body)
            _ledger(simulation, space)
            _average(simulation, space, body)
            _dashboards(simulation, space, body)
            _listeners(simulation, space, body)
            if simulation.has_bus:
                _events(simulation, space)
    _rolled_up(simulation)
    _ends(simulation)
    for client in (*simulation.dashboards, *simulation.listeners):
        client.close()
    tomorrow = day_start(add_days(day_of(simulation.loop.now), 1))
    simulation.wait(tomorrow + HOUR - simulation.loop.now, without_cleanup=True)
    simulation.expire(lag=simulation.random.choice((0, 2 * DAY // SECOND)))
    _days(simulation)
    _erasures(simulation)


def _erasures(simulation: Simulation) -> None:
    """Every erasure completes, despite crashes and however often its queue continues it."""
    if simulation.erasures:
        simulation.wait(_ERASED_WITHIN, without_cleanup=True)
    for erasure in simulation.erasures:
        body = simulation.get(f"/v1/erasures/{erasure}")
        if body and not body["complete"]:
            simulation.report(f"erasure {erasure} is incomplete after {body['rounds']} rounds")


def _sweep(simulation: Simulation) -> None:
    simulation.minutes.sweep()
    simulation.wait(10 * SECOND, without_cleanup=True)


def _rows(simulation: Simulation, role: str) -> Rows:
    return [decode(item) for item in simulation.store.client.scan(TableName=role)["Items"]]


def _compare(simulation: Simulation, what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        simulation.report(f"{what} should be {wanted}, but is {found}")


def _numbers(simulation: Simulation, space: str, body: Any) -> None:
    wanted = simulation.oracle.numbers(space, now=simulation.loop.now)
    _compare(simulation, space, {name: body[name] for name in wanted}, wanted)


def _rolled_up(simulation: Simulation, *, listed: bool = True) -> None:
    """Every person counts once over all spaces of a roll-up. ``listed``: the index of live spaces,
    which is read with a lag, is up to date."""
    for path, spaces in ROLL_UPS.items() if simulation.parameters["RollUps"] else ():
        id_ = rollup_id(path)
        body = simulation.get(f"/v1/{path}")
        if not body:
            continue
        wanted = simulation.oracle.numbers(*spaces, now=simulation.loop.now)
        _compare(simulation, path, {name: body[name] for name in wanted}, wanted)
        live = sum(bool(simulation.oracle.here(one, simulation.loop.now)) for one in spaces)
        if listed:
            _compare(simulation, f"the spaces of {path}", body["spaces"], live)
        published = simulation.published[id_]
        highest = max((one.people for one in published), default=0)
        peak = body["peak"]["people"] if body["peak"] else 0
        _compare(simulation, f"the peak of {path}", peak, highest)
        _compare(simulation, f"the version of {path}", body["version"], len(published))
        _dashboards(simulation, id_, body)


def _facets(simulation: Simulation, space: str, body: Any) -> None:
    wanted, unclear = simulation.oracle.facets(space, simulation.loop.now)
    found = {
        facet: {one["value"]: (one["count"], one["people"]) for one in values}
        for facet, values in body["facets"].items()
    }
    for facets in (wanted, found):
        for facet in unclear & facets.keys():
            facets[facet] = {value: (count, 0) for value, (count, _) in facets[facet].items()}
    _compare(simulation, f"the facets of {space}", found, wanted)


def _peaks(simulation: Simulation, space: str, body: Any) -> None:
    published = simulation.published[space]
    people, sessions = simulation.journal.peaks(space)
    found = body["peak"]["people"] if body["peak"] else 0
    _in_bounds(simulation, f"the peak of {space}", found, people)
    _in_bounds(simulation, f"the sessions' peak of {space}", body["peakSessions"], sessions)
    _compare(simulation, f"the version of {space}", body["version"], len(published))


def _in_bounds(simulation: Simulation, what: str, found: int, bounds: tuple[int, int]) -> None:
    if not bounds[0] <= found <= bounds[1]:
        simulation.report(f"{what} should be in {bounds}, but is {found}")


def _views(simulation: Simulation, space: str, body: Any) -> None:
    """The views equal the ledger's rows, and the ledger has every visit that was not dropped."""
    rows = [row for row in _rows(simulation, "visits") if row["space"] == space]
    began = [row for row in rows if row["space_day"].endswith(day_of(row["joined_at"]))]
    views = Counter(period for row in began for period in periods_of(day_of(row["joined_at"])))

    def wanted(now: int) -> dict[str, int]:
        day, week, month = periods_of(day_of(now))
        return {
            "total": len(began),
            "today": views[day],
            "week": views[week],
            "month": views[month],
        }

    # At midnight, the clock that answers may still be in the day before, or in the next one.
    around = [simulation.loop.now + off for off in (0, -CLOCKS_DIFFER, CLOCKS_DIFFER)]
    right = [one for one in map(wanted, around) if one == body["views"]]
    # The published version must include every view that the ledger has.
    _compare(simulation, f"the views of {space}", body["views"], (right or [wanted(around[0])])[0])
    known = {row["id"] for row in began}
    visits = simulation.journal.of(space)
    if unknown := known - visits.keys():
        simulation.report(f"the ledger of {space} has unknown visits: {sorted(unknown)}")
    if missing := visits.keys() - known - simulation.journal.dropped:
        simulation.report(f"the ledger of {space} misses {sorted(missing)}")


def _engagement(simulation: Simulation, space: str, body: Any) -> None:
    chats = sum(
        row.get("engagement", {}).get("chat", 0) for row in simulation.journal.of(space).values()
    )
    if simulation.journal.dropped:
        return
    found = body["engagement"].get("chat", 0)
    # A version may count a session in its old and its new shard, and published engagement never
    # decreases.
    if space not in simulation.journal.moved or found < chats:
        _compare(simulation, f"the chats of {space}", found, chats)


def _dashboards(simulation: Simulation, space: str, body: Any) -> None:
    for dashboard in simulation.dashboards:
        if dashboard.left or space not in dashboard.wanted:
            continue
        connection = dashboard.connection
        frame = connection.frames.get(space) if connection and connection.open else None
        if frame is None:
            simulation.report(f"{dashboard.name} has received nothing of {space}")
        elif frame["version"] and _lasting(frame["data"]) != _lasting(body):
            simulation.report(
                f"{dashboard.name} shows version {frame['version']} of {space}, "
                f"which differs from {body['version']}"
            )


def _listeners(simulation: Simulation, space: str, body: Any) -> None:
    """Every listener shows the current count, and heard no more than the budget allows."""
    for listener in simulation.listeners:
        if listener.left or listener.space != space:
            continue
        shown = listener.shown and listener.shown["count"]
        _compare(simulation, f"what {listener.name} shows of {space}", shown, body["people"])
        listener.check_budget(simulation.budget)


def _lasting(body: Any) -> Any:
    """A version without what changes at midnight: the views of the day, week and month."""
    lasting = {name: value for name, value in body.items() if name not in _OF_READS}
    return lasting | ({"views": body["views"]["total"]} if "views" in body else {})


_OF_READS = {"kind", "group", "spaces"}
"""What only a read of a roll-up has."""


def _viewers(simulation: Simulation, space: str) -> None:
    here = simulation.oracle.here(space, simulation.loop.now)
    listed = simulation.get(f"/v1/spaces/{space}/viewers", limit="100")
    found = sorted(one["sessionId"] for one in listed.get("viewers", []))
    _compare(simulation, f"who is in {space}", found, sorted(beat.session for beat, _ in here))


def _people(simulation: Simulation) -> None:
    """Everybody is found in the spaces where they are, with as many sessions, and nobody else."""
    here: dict[str, Counter[str]] = defaultdict(Counter)
    unclear: dict[str, Counter[str]] = defaultdict(Counter)
    for state in simulation.oracle.sessions.values():
        if state.beat is not None:
            here[state.beat.key] += Counter()  # nowhere, if they have left
    for space in simulation.used:
        for beat, _ in simulation.oracle.here(space, simulation.loop.now):
            here[beat.key][space] += 1
            # What `count` never received is not known until the visit's next change.
            visits = simulation.journal.sessions[space, beat.session]
            unclear[beat.key][space] += bool({*visits[-1:]} & simulation.journal.dropped)
    # Of a visit of which `count` missed something, its person may be known as seen earlier.
    unsure = {
        person_of(row.get("user"), row.get("visitor"), row["session"], verified="verified" in row)
        for visit in simulation.journal.dropped
        for row in simulation.journal.writes[visit]
    }
    # Look-ups read what may lag behind the last beats.
    simulation.loop.run(simulation.loop.now + simulation.store.lag)
    everybody = sorted(here)
    for start in range(0, len(everybody), MOST_PEOPLE):
        people = everybody[start : start + MOST_PEOPLE]
        for person, one in zip(people, simulation.look_up(people), strict=False):
            found = Counter({at["space"]: at["sessions"] for at in one["spaces"]})
            wanted = here[person]
            if not wanted - unclear[person] <= found <= wanted or one["online"] != bool(found):
                simulation.report(f"{person} should be in {wanted}, but is in {found}")
            surely, perhaps = simulation.oracle.seen[person]
            last_seen = parse_iso(one["lastSeen"]) if one["lastSeen"] else 0
            what = f"when {person} was last seen"
            _in_bounds(simulation, what, last_seen, (0 if person in unsure else surely, perhaps))


def _live_spaces(simulation: Simulation) -> None:
    now = simulation.loop.now
    wanted = sorted(space for space in simulation.used if simulation.oracle.here(space, now))
    listed = simulation.get("/v1/spaces").get("spaces", [])
    _compare(simulation, "the live spaces", sorted(one["space"] for one in listed), wanted)


def _joins(simulation: Simulation) -> None:
    """As many visits and beats were written as clients sent."""
    for key, state in simulation.oracle.sessions.items():
        visits = simulation.journal.sessions[key]
        if not state.joins[0] <= len(visits) <= state.joins[1]:
            simulation.report(f"{key} joined {state.joins} times, but {len(visits)} visits exist")
        beats = sum(
            sum(simulation.journal.visits[visit].get("beats", {}).values()) for visit in visits
        )
        if not state.beats[0] <= beats <= state.beats[1]:
            simulation.report(f"{key} sent {state.beats} beats, but {beats} were written")


def _ledger(simulation: Simulation, space: str) -> None:
    """Every visit is in the ledger as it ended, in each day of its beats."""
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
            _compare(simulation, what, row.get(name), visit.get(name))
        users = {row.get("user"), *row.get("former_users", ())} - {None}
        _compare(
            simulation, f"the users of {id_} on {day}", users, {*simulation.journal.users[id_]}
        )
        proofs = zip_longest(row.get("former_users", ()), row.get("former_proofs", ()))
        proven = {
            user for user, proof in (*proofs, (row.get("user"), row.get("verified"))) if proof
        }
        _compare(
            simulation,
            f"the proven users of {id_} on {day}",
            proven,
            simulation.journal.proven[id_],
        )


def _events(simulation: Simulation, space: str) -> None:
    """The events, by their numbers, are each join and each leave once, and each milestone."""
    try:
        events = by_number(simulation.bus.events, space)
    except AssertionError as error:
        simulation.report(f"the events of {space}: {error}")
        return
    began = [event["visit"]["id"] for event in events if event["type"] == "joined"]
    ended = [event["visit"]["id"] for event in events if event["type"] == "left"]
    visits = simulation.journal.of(space)
    unclear = simulation.journal.dropped | {
        record["dynamodb"]["NewImage"]["id"]["S"]
        for record in simulation.unseen
        if "id" in record["dynamodb"]["NewImage"]
    }
    over = [visit for visit, row in visits.items() if "ended_at" in row]
    for what, reported, wanted in (("joins", began, [*visits]), ("leaves", ended, over)):
        found = sorted(visit for visit in reported if visit not in unclear)
        _compare(simulation, f"the {what} of {space}'s events", found, sorted({*wanted} - unclear))
    here: set[str] = set()
    for event in events:
        if event["type"] == "joined":
            here.add(event["visit"]["id"])
        elif event["type"] == "left" and event["visit"]["id"] not in here | unclear:
            simulation.report(f"{event['visit']['id']} left {space} before it joined")
    published = simulation.published[space]
    risen: list[int] = []
    last, waits = -_PAUSE, False
    for before, version in zip([None, *published], published, strict=False):
        reached = version.people >= FEW
        waits = reached and (waits or before is None or before.people < FEW)
        if waits and not 0 <= version.at - last < _PAUSE:
            risen.append(version.version)
            last, waits = version.at, False
    lost = any("news" in record["dynamodb"]["NewImage"] for record in simulation.unseen)
    if not lost:
        reported = sorted(event["version"] for event in events if event["type"] == "milestone")
        _compare(simulation, f"the milestones of {space}'s events", reported, risen)


def _followed(simulation: Simulation, space: str) -> None:
    """A consumer with an older snapshot and all later events knows the same running visits as a new
    snapshot."""
    running = {
        visit for visit, row in simulation.journal.of(space).items() if "ended_at" not in row
    }
    unclear = simulation.journal.dropped
    if space in simulation.followers and not simulation.unseen:
        follower = simulation.followers[space]
        for event in simulation.random.sample(simulation.bus.events, len(simulation.bus.events)):
            if event["space"] == space:
                follower.take(event)
        what = f"who is in {space} by its events"
        _compare(simulation, what, follower.here - unclear, running - unclear)
    body = simulation.get(f"/v1/spaces/{space}/snapshot", limit="100")
    if body:
        visits = {visit["id"] for visit in body["visits"]}
        _compare(simulation, f"who is in {space} by a snapshot", visits, running)
        simulation.followers[space] = Follower(body["eventSeq"], visits)


def _average(simulation: Simulation, space: str, body: Any) -> None:
    if simulation.journal.dropped or simulation.dropped:
        # A visit whose end `count` never received may be deleted before the next recount, and
        # nothing looks at an empty space of which `publish` never received a recount.
        return
    stays = {}
    for id_, row in simulation.journal.of(space).items():
        end = row["ended_at"] if row["ended_by"] == "leave" else row["last_seen"]
        stays[id_] = max(0, end - row["joined_at"]) // SECOND
    # If a session joins again before the next recount, only the process of `count` that received
    # the end knows of it, and another one may receive the join.
    again = [
        stays.pop(id_)
        for (of, _), visits in simulation.journal.sessions.items()
        for id_ in visits[:-1]
        if of == space
    ]
    if len(again) > _RETURNS:
        return
    wanted = set()
    for count in range(len(again) + 1):
        for known in combinations(again, count):
            seconds = [*stays.values(), *known]
            wanted.add(round(sum(seconds) / len(seconds)) if seconds else None)
    if body["avgSeconds"] not in wanted:
        _compare(simulation, f"the mean stay in {space}", body["avgSeconds"], wanted)


def _ends(simulation: Simulation) -> None:
    """The last visit of each session ended as and when its client knows."""
    for key, state in simulation.oracle.sessions.items():
        visits = simulation.journal.sessions[key]
        if not visits or state.beat is None:
            continue
        row = simulation.journal.visits[visits[-1]]
        first, last = state.beat.ends
        if state.left is None:
            ended_by, bounds = "expiry", (first, last)
        elif state.left[1] < first:
            ended_by, bounds = "leave", state.left
        else:
            continue  # the lease may have run out before the leave arrived
        if state.joins[0] != state.joins[1]:
            continue  # a beat and a leave crossed
        if row["ended_by"] != ended_by or not bounds[0] <= row["ended_at"] <= bounds[1]:
            simulation.report(
                f"{key} ended by {ended_by} in {bounds}, but its row has {row['ended_by']} "
                f"at {row['ended_at']}"
            )


def _days(simulation: Simulation) -> None:
    """Each day's row, also if written twice, matches what was written on that day."""
    dates = sorted({day for row in simulation.journal.visits.values() for day in row["beats"]})
    for date in dates:
        event = {"date": date}
        for again in range(simulation.random.choice((1, 1, 2))):
            simulation.loop.start(partial(simulation.fleet.invoke, "daily", event))
            simulation.faults.injected[faults.DAILY_TWICE] += again
        simulation.wait(5 * SECOND, without_cleanup=True)
    _rolled_up_days(simulation, dates)
    for space in simulation.used:
        found = _day_rows(simulation, f"spaces/{space}", dates)
        if simulation.journal.excused & simulation.journal.of(space).keys():
            continue
        for date in dates:
            wanted = simulation.journal.day(space, date=date)
            if not wanted["beats"]:
                _compare(simulation, f"{date} of {space}", found.get(date), None)
                continue
            row = found.get(date, {})
            _compare(
                simulation, f"{date} of {space}", {name: row.get(name) for name in wanted}, wanted
            )
            people, _ = simulation.journal.peaks(space, date)
            peak = row.get("peak", 0)
            _in_bounds(simulation, f"the peak of {space} on {date}", peak, people)
            _compare(
                simulation,
                f"the mean of {space} on {date}",
                row.get("avgSeconds"),
                _mean(simulation, space, date),
            )


def _rolled_up_days(simulation: Simulation, dates: list[str]) -> None:
    """A day of a roll-up has everybody once, in whatever spaces of it they were."""
    for path, spaces in ROLL_UPS.items() if simulation.parameters["RollUps"] else ():
        if simulation.journal.excused & simulation.journal.of(*spaces).keys():
            continue
        found = _day_rows(simulation, path, dates)
        for date in dates:
            wanted = simulation.journal.day(*spaces, date=date)
            row = {name: found.get(date, {}).get(name, 0) for name in wanted}
            _compare(simulation, f"{date} of {path}", row, wanted)


def _day_rows(simulation: Simulation, path: str, dates: list[str]) -> dict[str, Any]:
    """The rows of these days, by date."""
    if not dates:
        return {}
    query = {"from": dates[0], "to": dates[-1]}
    rows: Rows = simulation.get(f"/v1/{path}/days", **query).get("days", [])
    return {row["date"]: row for row in rows}


def _mean(simulation: Simulation, space: str, date: str) -> int:
    start, end = day_start(date), day_start(date) + DAY
    spent: list[int] = [
        max(0, min(row["ended_at"], end) - max(row["joined_at"], start))
        for row in simulation.journal.of(space).values()
        if row["beats"].get(date)
    ]
    return round(sum(spent) / len(spent) / SECOND)
