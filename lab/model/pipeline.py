"""The pipeline as states and steps: what is stored, what waits, who is in the middle of what.

A step is what a handler does between two moments at which another one may see or disturb it; each
stands for the code that its comment names. A read and the conditional write after it are two steps,
but for beats and leaves, which are tried again until no one else wrote in between. Versions are
only ever compared, so they are kept as "still the one that was read", or relative to the stored
one. Time is what may happen: a lease may run out, a record be late, a sweep begin. docs/proof.md
says what is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

NO_ROW, UNMARKED, NOTHING = 1, 2, 1
"""Of a dashboard: not subscribed; subscribed, the first version not marked; no version received."""
CHECK, READ, SAVE, WHO, OVER, POST, NOTE = range(7)
"""What a publisher does next."""
AWAY, ADDED, HOLDS, SENT, GREETED = range(5)
"""How far a dashboard's greeting is."""
WAKE, VISITS = 1, 3
"""In a mask of records, the lowest bit is any change; then there are so many visits a session."""


class Publisher(Struct, frozen=True, gc=False):
    """``publish``, or ``count`` when it publishes: the version that it sends or wants to follow."""

    step: int
    version: int = 0
    tally: int = 0
    fresh: bool = True  # the headcount is still the one that it read
    counted: bool = True  # so are the counts
    due: int = 0
    waiting: int = 0
    own: bool = False  # it stored the version itself


class Recount(Struct, frozen=True, gc=False):
    """A recount by ``count`` or the sweep: the records that it is for, and what it read."""

    shard: int
    batch: int
    tally: int
    fresh: bool = True  # the count is still the one that it read
    wrote: bool = False


class Dashboard(Struct, frozen=True, order=True, gc=False):
    """A dashboard: its greeting, the version in hand, its row, the last version it received."""

    greeting: int = AWAY
    holds: int = 0
    after: int = NO_ROW
    last: int = NOTHING


class State(Struct, frozen=True, gc=False):
    """Everything. Masks have a bit per session, per dashboard, or per record."""

    sent: tuple[int, ...]
    inbox: tuple[tuple[int, ...], ...]  # messages that are not acknowledged yet
    rows: tuple[tuple[int, bool, int], ...]  # Presence: number, live, visits
    leases: int  # sessions whose lease runs
    lapses: int  # sessions whose client may still vanish
    pending: tuple[int, ...]  # the stream of Presence, by shard
    late: tuple[int, int] | None  # a shard, and its record that comes late
    ledger: int  # visits
    views: int
    recounts: tuple[Recount | None, ...]  # by ``count``, a process per shard; then the sweep's
    counts: tuple[int, ...]  # Counts: sessions, by shard
    changed: bool  # the stream of Counts
    repeat: bool  # the batch at its head caused the stored version
    publishers: tuple[Publisher | None, Publisher | None]  # ``publish``, ``count``
    tally: int  # Headcounts: sessions
    unsent: bool
    current: bool  # the headcount is made of the counts as they are
    dashboards: tuple[Dashboard, ...]
    chunks: tuple[tuple[int, int], ...]  # the fan-out queue: version, dashboards
    fanout: int  # dashboards that its head is still to be posted to
    sweep: tuple[int, int] | None  # sessions found expired, and those whose row is still as read
    crashes: int
    repeats: int
    delays: int
    wrong: str = ""


class Scene(Struct, frozen=True, gc=False):
    """What is explored. A script is a session's messages, each a (b)eat or a (l)eave."""

    name: str
    scripts: tuple[str, ...]
    homes: tuple[int, ...]  # each session's shard
    dashboards: int
    lapses: int = 0  # sessions whose client may vanish
    chunked: bool = False
    crashes: int = 1
    repeats: int = 1
    delays: int = 1


Step = tuple[str, str, State]
"""Who, what, and what is then. WORLD: not the pipeline's doing; CRASH and REPEAT: faults."""


def put(values: tuple[object, ...], at: int, value: object) -> tuple[object, ...]:
    return (*values[:at], value, *values[at + 1 :])


def start(scene: Scene) -> State:
    """Nobody is there."""
    shards, sessions = max(scene.homes) + 1, len(scene.scripts)
    return State(
        sent=(0,) * sessions,
        inbox=((),) * sessions,
        rows=((0, False, 0),) * sessions,
        leases=0,
        lapses=scene.lapses,
        pending=(0,) * shards,
        late=None,
        ledger=0,
        views=0,
        recounts=(None,) * (shards + 1),
        counts=(0,) * shards,
        changed=False,
        repeat=False,
        publishers=(None, None),
        tally=0,
        unsent=False,
        current=True,
        dashboards=(Dashboard(),) * scene.dashboards,
        chunks=(),
        fanout=0,
        sweep=None,
        crashes=scene.crashes,
        repeats=scene.repeats,
        delays=scene.delays,
    )


class Pipeline:
    """The steps of a scene. ``without`` names a condition that is left out, to see it missed."""

    def __init__(self, scene: Scene, without: str = "") -> None:
        self.scene, self.without = scene, without
        self.shards = max(scene.homes) + 1
        self.of_shard = [
            sum(1 << i for i, home in enumerate(scene.homes) if home == shard)
            for shard in range(self.shards)
        ]

    def steps(self, s: State) -> Iterator[Step]:
        """All that can happen next."""
        yield from self.clients(s)
        for shard in range(self.shards):
            yield from self.count(s, shard)
        for which in (0, 1):
            yield from self.publish(s, which)
        for d, dashboard in enumerate(s.dashboards):
            yield from self.greet(s, d, dashboard)
        yield from self.fan_out(s)
        yield from self.clean_up(s)
        if s.late is not None:
            shard, record = s.late
            lost = self.without == "late records are counted"
            yield (
                "WORLD",
                "the late record arrives",
                wake(replace(s, late=None), shard, 0 if lost else record),
            )

    # ------------------------------------------------------------------------- beat, leave, expiry

    def clients(self, s: State) -> Iterator[Step]:
        for i, script in enumerate(self.scene.scripts):
            number = s.sent[i] + 1
            # A leave may overtake the beat before it: the page is closed meanwhile.
            if number <= len(script) and (not s.inbox[i] or script[number - 1] == "l"):
                sent = replace(s, sent=put(s.sent, i, number))
                if script[number:] == "l":
                    inbox = put(s.inbox, i, (*s.inbox[i], number))
                    yield "WORLD", f"s{i} sends message {number}", replace(sent, inbox=inbox)
                else:
                    for _, what, new in self.receive(sent, i, number):
                        yield "WORLD", what, new
            if s.rows[i][1] and s.leases & s.lapses & 1 << i:
                leases, lapses = s.leases & ~(1 << i), s.lapses & ~(1 << i)
                yield "WORLD", f"s{i}'s lease runs out", replace(s, leases=leases, lapses=lapses)
            for message in s.inbox[i]:
                yield from self.receive(s, i, message)

    def receive(self, s: State, i: int, message: int) -> Iterator[Step]:
        """A message arrives: it is answered, or the client sends it again."""
        left = put(s.inbox, i, tuple(one for one in s.inbox[i] if one != message))
        kept = put(left, i, (*left[i], message))
        for what, new in self.handle(s, i, message):
            name = f"message {message} of s{i}: {what}"
            yield "beat", name, replace(new, inbox=left)
            if new is not s and s.crashes:
                yield "CRASH", f"{name}, no answer", replace(new, inbox=kept, crashes=s.crashes - 1)
            if s.repeats:
                yield (
                    "REPEAT",
                    f"{name}, a copy follows",
                    replace(new, inbox=kept, repeats=s.repeats - 1),
                )

    def handle(self, s: State, i: int, message: int) -> Iterator[tuple[str, State]]:
        """``after_beat``, ``after_leave`` and ``tombstone``, with ``PresenceTable.replace``."""
        (seq, live, visits), kind = s.rows[i], self.scene.scripts[i][message - 1]
        if message <= seq and not (kind == "b" and self.without == "messages are ordered"):
            yield "stale", s
            return
        if kind == "l":
            new = self.row(s, i, (message, False, visits))
            yield from self.record(new, i, WAKE, "end") if live else [("tombstone", new)]
            return
        lapsed = not s.leases & 1 << i
        new = replace(
            self.row(s, i, (max(seq, message), True, visits + (not live))), leases=s.leases | 1 << i
        )
        if not live:
            yield from self.record(new, i, WAKE | 2 << i * VISITS + visits, "join")
        elif lapsed and self.without != "a beat after its lease is a change":
            yield from self.record(new, i, WAKE, "change")
        else:
            yield "steady", new

    def row(self, s: State, i: int, row: tuple[int, bool, int]) -> State:
        """Write a row: a sweep that read it before will notice."""
        sweep = s.sweep and (s.sweep[0], s.sweep[1] & ~(1 << i))
        return replace(s, rows=put(s.rows, i, row), sweep=sweep)

    def record(self, s: State, i: int, record: int, what: str) -> Iterator[tuple[str, State]]:
        home = self.scene.homes[i]
        yield what, wake(s, home, record)
        if s.delays:
            yield (
                f"{what}, its record is late",
                replace(s, late=(home, record), delays=s.delays - 1),
            )

    # --------------------------------------------------------------------------------------- count

    def present(self, s: State, shard: int) -> int:
        """What a recount reads: the sessions that have not ended and whose lease runs."""
        rows = sum(1 << i for i, row in enumerate(s.rows) if row[1])
        return rows & s.leases & self.of_shard[shard]

    def count(self, s: State, shard: int) -> Iterator[Step]:
        """``Counter.count``: visits to the ledger, each once; the version, the rows; the count."""
        name, it = f"count{shard}", s.recounts[shard]
        if it is None:
            if batch := s.pending[shard]:
                visits = batch & ~WAKE
                new = visits if self.without == "a visit is recorded once" else visits & ~s.ledger
                s = replace(
                    s,
                    pending=put(s.pending, shard, 0),
                    ledger=s.ledger | visits,
                    views=s.views + new.bit_count(),
                    recounts=put(s.recounts, shard, Recount(shard, batch, self.present(s, shard))),
                )
                if self.shards == 1 and not is_owed(s):  # ``Publisher.ready``
                    s = replace(s, publishers=(s.publishers[0], Publisher(READ)))
                yield name, "records visits, reads the rows", s
            return
        direct = s.publishers[1]
        ended = replace(s, recounts=put(s.recounts, shard, None))
        if self.shards == 1:
            ended = replace(ended, publishers=(s.publishers[0], None))
        again = wake(ended, shard, it.batch)
        if s.crashes:
            yield "CRASH", name, replace(again, crashes=s.crashes - 1)
        if it.wrote and direct is not None:
            return  # ``publish`` goes on; then the batch is done
        what, new = ("ends", s) if it.wrote else self.save(s, shard, it)
        if direct is not None or not (written := new.recounts[shard]) or not written.wrote:
            yield name, what, new
            return
        new = replace(new, recounts=put(new.recounts, shard, None))
        yield name, what, new
        again = wake(new, shard, it.batch)
        if s.crashes:
            yield "CRASH", f"{name} {what}", replace(again, crashes=s.crashes - 1)
        if s.repeats:
            yield "REPEAT", f"{name} {what}", replace(again, repeats=s.repeats - 1)

    def save(self, s: State, at: int, it: Recount) -> tuple[str, State]:
        """``CountsTable.save``: on condition of the version that was read before the rows."""
        if not it.fresh and self.without != "a recount's condition":
            it = replace(it, tally=self.present(s, it.shard), fresh=True)
            return "lost a race, reads again", replace(s, recounts=put(s.recounts, at, it))
        others = tuple(
            one and replace(one, fresh=one.fresh and one.shard != it.shard) for one in s.recounts
        )
        return "writes the count", replace(
            s,
            counts=put(s.counts, it.shard, it.tally),
            changed=True,
            current=False,
            recounts=put(others, at, replace(it, wrote=True)),
            publishers=tuple(one and replace(one, counted=False) for one in s.publishers),
        )

    # ------------------------------------------------------------------------------------- publish

    def publish(self, s: State, which: int) -> Iterator[Step]:  # noqa: PLR0912 - one table of steps
        """``Publisher.publish``, by the stream of Counts (0), or ``publish_directly`` (1)."""
        name, it, other = ("publish", "count0")[which], s.publishers[which], s.publishers[1 - which]
        if it is None:
            if which == 0 and s.repeat:  # ``is_repeat``: it may have crashed before it had sent
                yield name, "repeats a batch", self.publisher(s, 0, Publisher(WHO, own=True))
            elif which == 0 and s.changed:
                yield from self.check(replace(s, changed=False), name, other)
            return
        if which == 1 and not s.recounts[0].wrote:  # type: ignore[union-attr]
            return
        if which == 0 and s.crashes and it.step > SAVE:  # before, it has done nothing yet
            crashed = replace(self.publisher(s, 0, None), crashes=s.crashes - 1)
            yield "CRASH", name, crashed if s.repeat else replace(crashed, changed=True)
        if it.step == CHECK:
            yield from self.check(s, name, other)
        elif it.step == READ:
            tally = sum(s.counts)
            yield (
                name,
                "reads the counts",
                self.publisher(s, which, replace(it, step=SAVE, tally=tally, counted=True)),
            )
        elif it.step == SAVE:
            yield name, *self.store(s, which, it)
        elif it.step in (WHO, OVER):
            yield from self.audience(s, which, it, name)
        elif it.step == POST:
            if self.scene.chunked:
                chunks = (*s.chunks, (it.version, it.due))
                yield (
                    name,
                    "queues it",
                    self.publisher(replace(s, chunks=chunks), which, replace(it, step=NOTE)),
                )
            else:
                low = it.due & -it.due
                it = replace(it, due=it.due ^ low, step=POST if it.due ^ low else NOTE)
                yield (
                    name,
                    f"posts to d{low.bit_length() - 1}",
                    self.publisher(self.post(s, low, it.version), which, it),
                )
        elif it.step == NOTE:  # ``mark_sent``, unless another version is stored by now
            if it.version == 0 and self.without != "a version is marked after it is sent":
                s = replace(s, unsent=False)
            yield name, "marks it as sent", self.sent(s, which, it)

    def check(self, s: State, name: str, other: Publisher | None) -> Iterator[Step]:
        """What comes first: the last version, if it is not sent; nothing, if ``count`` did it."""
        if is_owed(s) and self.without != "an unsent version is sent first":
            # The fence: by then no other process can be sending it any more.
            if other is None or other.step < WHO:
                yield name, "finds a version unsent", self.publisher(s, 0, Publisher(WHO))
        elif self.shards == 1 and s.current:
            yield name, "finds it published", self.publisher(s, 0, None)
        else:
            yield name, "reads the headcount", self.publisher(s, 0, Publisher(READ))

    def publisher(self, s: State, which: int, it: Publisher | None) -> State:
        return replace(s, publishers=put(s.publishers, which, it))

    def sent(self, s: State, which: int, it: Publisher) -> State:
        """A version is sent: go on with what follows it, or end."""
        if which == 1:
            return self.publisher(s, 1, None)
        if it.own:
            return replace(self.publisher(s, 0, None), repeat=False)
        return self.publisher(s, 0, Publisher(CHECK))

    def store(self, s: State, which: int, it: Publisher) -> tuple[str, State]:
        """``HeadcountsTable.save``: on condition of the version before."""
        if not it.fresh and self.without != "a version's condition":
            s = self.publisher(s, which, None)
            return "lost a race", replace(s, changed=True) if which == 0 else s
        wrong = s.wrong if it.fresh else "versions grow one by one: one is stored twice"
        others = tuple(
            one and replace(one, version=one.version - 1, fresh=False) for one in s.publishers
        )
        own = Publisher(WHO, own=True)
        new = replace(
            s,
            tally=it.tally,
            unsent=self.without != "a version is marked after it is sent",
            current=it.counted and self.shards == 1,
            repeat=s.repeat or which == 0,
            publishers=put(others, which, own),
            dashboards=tuple(map(older, s.dashboards)),
            chunks=tuple((version - 1, due) for version, due in s.chunks),
            wrong=wrong,
        )
        return "stores the next version", new if s.dashboards else self.sent(new, which, own)

    def audience(self, s: State, which: int, it: Publisher, name: str) -> Iterator[Step]:
        """``_due_subscribers``. A greeting takes less than ``GREETING_WAIT``, unless it crashed."""
        rows = list(enumerate(s.dashboards))
        if it.step == WHO:
            if any(
                one.after == UNMARKED and one.greeting in (ADDED, HOLDS, SENT) for _, one in rows
            ):
                return
            waiting = sum(1 << d for d, one in rows if one.after == UNMARKED)
            ahead = any(it.version < one.after <= 0 for _, one in rows)
            due = sum(1 << d for d, one in rows if one.after < it.version)
            step = OVER if waiting or ahead else POST
            if not due and step == POST:
                yield name, "finds no one to send to", self.sent(s, which, it)
                return
            yield (
                name,
                "reads the subscribers",
                self.publisher(s, which, replace(it, step=step, due=due, waiting=waiting)),
            )
        elif it.version < 0:  # ``_is_over``
            it = replace(it, step=POST)
            yield (
                name,
                "finds a later version",
                self.publisher(s, which, it) if it.due else self.sent(s, which, it),
            )
        else:
            marked = tuple(
                replace(one, after=it.version - 1) if it.waiting >> d & 1 else one
                for d, one in rows
            )
            yield (
                name,
                "marks who waits",
                self.publisher(
                    replace(s, dashboards=marked),
                    which,
                    replace(it, step=POST, due=it.due | it.waiting),
                ),
            )

    # ------------------------------------------------------------------------------ greet, fan-out

    def post(self, s: State, who: int, version: int, *, asked: bool = False) -> State:
        """A dashboard receives a version, that it ``asked`` for or not; it ignores older ones."""
        d = who.bit_length() - 1
        it, wrong = s.dashboards[d], s.wrong
        if it.last != NOTHING:
            if version > it.last + 1 and not asked:
                wrong = f"versions reach a dashboard without gaps: d{d} missed one"
            if version < it.last and self.shards > 1 and s.crashes == self.scene.crashes:
                wrong = f"and in order, if one process publishes and none crashes: not d{d}"
            version = max(version, it.last)
        return replace(s, dashboards=put(s.dashboards, d, replace(it, last=version)), wrong=wrong)

    def greet(self, s: State, d: int, it: Dashboard) -> Iterator[Step]:
        """``Greeter.greet``: the row, the version, the first frame, the mark."""
        marked = self.without == "a greeting is marked last"
        early = self.without == "a greeting subscribes first"
        if it.greeting == AWAY:
            if early:
                new = replace(it, greeting=ADDED, holds=0)
            else:
                new = replace(it, greeting=ADDED, after=-99 if marked else UNMARKED)
            yield "WORLD", f"d{d} subscribes", replace(s, dashboards=put(s.dashboards, d, new))
            return
        if it.greeting == GREETED:
            return
        if s.crashes:  # a client that received nothing asks again
            greeting = GREETED if it.greeting == SENT else AWAY
            crashed = replace(it, greeting=greeting, holds=0)
            yield (
                "CRASH",
                f"greeting d{d}",
                replace(s, dashboards=put(s.dashboards, d, crashed), crashes=s.crashes - 1),
            )
        if it.greeting == ADDED:
            new = replace(it, greeting=HOLDS)
            new = replace(new, after=it.holds) if early else replace(new, holds=0)
            yield (
                f"socket{d}",
                "reads the version",
                replace(s, dashboards=put(s.dashboards, d, new)),
            )
        elif it.greeting == HOLDS:
            s = self.post(s, 1 << d, it.holds, asked=True)
            yield (
                f"socket{d}",
                "posts it",
                replace(
                    s, dashboards=put(s.dashboards, d, replace(s.dashboards[d], greeting=SENT))
                ),
            )
        else:
            after = it.after if marked else it.holds
            new = replace(it, greeting=GREETED, holds=0, after=after)
            yield f"socket{d}", "marks it", replace(s, dashboards=put(s.dashboards, d, new))

    def fan_out(self, s: State) -> Iterator[Step]:
        """``fanout``: a FIFO queue, whose head is received again unless it was delivered."""
        if not s.chunks:
            return
        version, due = s.chunks[0]
        early = self.without == "a chunk is deleted after it is posted"
        if not s.fanout:
            new = replace(s, fanout=due)
            yield "fanout", "receives a chunk", new
            return
        if s.crashes:
            crashed = replace(s, fanout=0, crashes=s.crashes - 1)
            yield "CRASH", "fanout", replace(crashed, chunks=s.chunks[1:]) if early else crashed
        low = s.fanout & -s.fanout
        new = replace(self.post(s, low, version), fanout=s.fanout ^ low)
        what = f"posts to d{low.bit_length() - 1}"
        if new.fanout:
            yield "fanout", what, new
            return
        yield "fanout", what, replace(new, chunks=s.chunks[1:])
        if s.repeats:
            yield "REPEAT", f"fanout {what}", replace(new, repeats=s.repeats - 1)

    # --------------------------------------------------------------------------------------- sweep

    def expired(self, s: State) -> int:
        return sum(1 << i for i, row in enumerate(s.rows) if row[1]) & ~s.leases

    def drift(self, s: State) -> int | None:
        """``SpaceAudit``: a shard whose numbers differ though nothing is in flight. A late record
        is not in flight any more: its write is older than ``IN_FLIGHT``."""
        idle = not (s.changed or s.repeat or s.publishers[0] or s.publishers[1])
        for shard, mask in enumerate(self.of_shard):
            if s.pending[shard] or s.recounts[shard] or self.expired(s) & mask:
                idle = False
            elif s.counts[shard] != self.present(s, shard):
                return shard
        return 0 if idle and s.tally != sum(s.counts) else None

    def clean_up(self, s: State) -> Iterator[Step]:
        """``Sweeper.sweep``: end what has expired, then audit."""
        it = s.recounts[-1]
        audits = self.without != "the sweep audits"
        if s.sweep is None:
            found = self.expired(s)
            if found or (audits and self.drift(s) is not None):
                yield "SWEEP", "reads the rows", replace(s, sweep=(found, found))
            return
        if s.crashes:
            crashed = replace(s, sweep=None, recounts=put(s.recounts, self.shards, None))
            yield "CRASH", "cleanup", replace(crashed, crashes=s.crashes - 1)
        found, fresh = s.sweep
        if found:
            low = found & -found
            i = low.bit_length() - 1
            new = replace(s, sweep=(found ^ low, fresh & ~low))
            if fresh & low or self.without == "the sweep's condition":
                seq, live, visits = s.rows[i]
                if s.leases & low and live:
                    new = replace(new, wrong=f"no one is ended whose lease runs: s{i} is")
                new = replace(new, rows=put(s.rows, i, (seq, False, visits)))
                for what, after in self.record(new, i, WAKE, "ends"):
                    yield "cleanup", f"{what} s{i}", after
            else:
                yield "cleanup", f"finds s{i} written since", new
        elif it is None or it.wrote:
            shard = self.drift(s) if audits else None
            if shard is None:
                yield (
                    "cleanup",
                    "finds nothing wrong",
                    replace(s, sweep=None, recounts=put(s.recounts, self.shards, None)),
                )
            else:
                again = Recount(shard, 0, self.present(s, shard))
                yield (
                    "cleanup",
                    f"recounts shard {shard}",
                    replace(s, recounts=put(s.recounts, self.shards, again)),
                )
        else:
            yield "cleanup", *self.save(s, self.shards, it)


def wake(s: State, shard: int, record: int) -> State:
    return replace(s, pending=put(s.pending, shard, s.pending[shard] | record))


def is_owed(s: State) -> bool:
    """``_is_owed``: the last version may not have reached all who are due for it."""
    return s.unsent and any(one.after == UNMARKED or one.after < 0 for one in s.dashboards)


def older(one: Dashboard) -> Dashboard:
    """A dashboard, when there is a later version: its numbers are relative to that."""
    return replace(
        one,
        holds=one.holds - (one.greeting in (HOLDS, SENT)),
        after=one.after - (one.after <= 0),
        last=one.last - (one.last <= 0),
    )
