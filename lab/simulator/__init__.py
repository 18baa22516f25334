"""A simulation of the whole pipeline in one process and one thread, compared with a model.

Real: every handler and its code down to the AWS client. Simulated: AWS's APIs (``aws``, on
``lab.harness.memory``, which the store's tests compare with DynamoDB Local), time (``loop``),
Lambda's warm processes (``processes``), streams, queues and schedules from the template
(``sources``), the WebSocket API and dashboards (``sockets``), and clients that repeat each message
until it is acknowledged (``visitors``).

A handler yields before and after each AWS call. There it may crash, stall, be throttled, fail, or
time out with or without the call's effect, while other processes run, also of the same function.
Items of a batch may stay unprocessed, and transactions may conflict; a retry without backoff is
reported. The streams' batches are cut anywhere, halved after a failure, delayed, delivered twice,
replayed an hour later or dropped; the Presence stream may be split between any two items, as
DynamoDB splits a busy partition. The cleanup runs late, twice at once or not at all; TTL deletes
two days late or at once; eventually consistent reads lag; pages are a few rows long; clocks step
back by a second. A failed message of a queue is received again after the visibility timeout, which
the function must shorten, and blocks its FIFO group until then. A chain of messages in which a
function runs for the 17th time is stopped, as Lambda does, unless the template allows it.

At rest (``checks``) people, sessions, facets, views, peaks, visits, days and every dashboard must
match the ``oracle``, which knows only two things: which messages were acknowledged, and which rows
of Presence were written. So must what a lookup finds of each person, and in half of the runs the
roll-ups. A third of the runs has an event bus: its events must be each join, leave
and milestone once, with numbers without gaps.

    make soak SECONDS=60        as many seeds as fit
    make soak SEED=4711         one seed, with its trace
    make story SEED=4711        the same as a page

Limits, where the simulation differs from AWS:

* Calls take effect at one moment between being sent and answered: none takes effect after its
  process crashed, or after a later retry.
* The cleanup repairs a dropped batch, except for a visit whose row the session's next visit
  overwrote: nothing stored shows that visit, so the checks ignore it.
* A client whose messages have no number sends nothing new while an old request may still arrive.
* With several shards a version may count a session in its old and its new shard; engagement, which
  never decreases, then keeps the double count. The checks require only that none is missing.
* Dashboards ignore a version older than what they show, as our dashboard does: it may arrive late
  if two publishers run at once.
"""
