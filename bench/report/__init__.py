"""The page of results: rendered from the committed JSONs of suites, with its plots. Pure: same JSONs, same page."""

from bench.report.page import render, write_page

__all__ = ["render", "write_page"]
