"""Headcount: who is here right now, on what, and how many.

Pure decisions live in ``spaces``, ``beats``, ``session``, ``tally``, ``visits`` and
``headcounts``; I/O in ``store``, ``sockets`` and ``clients``; one use case per trigger in
``presence``, ``counting``, ``publishing``, ``fanning``, ``sweeping``, ``aggregating``,
``subscribing`` and ``reading``. Imports point from the use cases inward, never back.
"""

__version__ = "0.1.0"
