"""Distillation methods: each one small file with its paper and its equation (see METHODS below)."""

from training.methods.base import Method

METHODS: dict[str, type[Method]] = {}
