"""Headcount's tests: ``unit`` needs nothing, ``stores`` and ``handlers`` run on real engines."""
