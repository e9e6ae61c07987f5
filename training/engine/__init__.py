"""Distillation runs: recipes, the loop, results, comparisons and suites.

Knows tasks, methods, weighers and steps by their contracts alone; every one of them is chosen by a name in a recipe.
"""
