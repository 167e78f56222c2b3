"""Hypothesis for the whole suite: `make test` tries the same examples every time, `make test-all` new ones."""

from hypothesis import settings

settings.register_profile("seeded", max_examples=6, derandomize=True, database=None, deadline=None)
settings.register_profile("random", max_examples=60, deadline=None, print_blob=True)
settings.load_profile("seeded")
