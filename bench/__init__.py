"""Suites of runs, and the tables and plots made from their results. Beside the product, not in its wheel."""
