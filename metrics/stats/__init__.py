"""Formulas of the catalogue's section 3: NumPy in, numbers out, no frames.

Written out where scipy has no such thing; each names where it is taken from. Verified against the catalogue's numbers
and public data in `tests/metrics/test_stats*.py` and `tests/validation`.
"""
