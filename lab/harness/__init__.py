"""The product in one process, for the tests and the lab: handlers, engines, clock, fakes."""
