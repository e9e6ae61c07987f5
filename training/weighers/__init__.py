"""Weighers of several teachers: each one small file with its paper and its equation (see WEIGHERS below)."""

from training.weighers.base import Weigher

WEIGHERS: dict[str, type[Weigher]] = {}
