"""Hypothesis for the whole suite: `make test` tries the same examples every time, `make test-all` new ones."""

from hypothesis import settings

settings.register_profile("seeded", derandomize=True, database=None, deadline=None)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile("seeded")
