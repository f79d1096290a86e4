"""Engines for tests: a scripted one, and what the tests of real ones share."""
