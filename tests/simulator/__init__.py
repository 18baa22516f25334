"""The whole pipeline in one process and one thread, and a model that it is compared with.

What is real: every handler, and all that it calls down to the AWS client. What is played: the
clients' other end (``aws``, over ``tests.support.memory``, which the store's tests prove equal to
DynamoDB Local), time (``loop``), Lambda's warm copies (``processes``), streams, queues and
schedules as the template has them (``sources``), the WebSocket API and dashboards (``sockets``),
and clients that say everything until it is taken (``visitors``).

A handler gives way before and after each of its AWS calls. There it may crash, stall, be throttled,
fail, or time out with or without the call's effect; meanwhile others go on, copies of the same
function among them. Batches are cut anywhere, halved where they fail, delayed, handed over twice,
replayed an hour later or dropped; the Presence stream may be split between any two items, as
DynamoDB splits a busy partition. The cleanup comes late, twice at once or not at all; TTL is two
days behind or on the spot; eventually consistent reads lag; pages are a few rows long; clocks step
back by a second.

At rest (``checks``) people, sessions, facets, views, peaks, visits, days and every dashboard must
be what the ``oracle`` says, which knows two things only: what clients were told was taken, and
which rows of Presence were ever written. A third of the runs has a bus: there, what was told must
be each join, leave and milestone once, under numbers of which none is left out.

    make soak SECONDS=60        as many seeds as fit
    make soak SEED=4711         one of them, with everything that happened

Limits, where the real thing can do what this can't:

* Calls happen in one instant between being sent and being answered: none takes effect after the
  process that sent it died, or after a later try of itself.
* A dropped batch is healed by the cleanup, but for a visit whose row was overwritten by the
  session's next visit meanwhile: nobody can know of that one any more, and it is excused.
* A client whose messages have no number sends nothing new while an old request may still arrive.
* With several shards a version may find a session in the shard it left and in the one it came to;
  engagement, which never falls, keeps what was said twice then. Checked is that none is missing.
* Dashboards ignore a version older than what they show, as ours does: it may come late where two
  publishers ran at once.
"""
