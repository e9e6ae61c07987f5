"""Distillation: methods, weighers, steps, and the distiller that joins them. Usable in anybody's loop."""
