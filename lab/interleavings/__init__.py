"""Every interleaving of the real handlers in small scenes.

``reduction`` goes through all orders of the actors' calls that can differ in their outcome, each
from the beginning (stateless model checking): two calls whose order does not matter are tried in
one order only. ``stage`` runs handlers as actors that stop before each call to AWS, on
``lab.harness.world``. ``scenes`` says who acts, and what must hold afterwards; ``mistakes`` breaks
the code to see whether it would be noticed.

    make interleavings
    make interleavings ARGS="leave sweep"       scenes whose name contains a word
"""
