"""Adaptors of the research corpora: one file a corpus, each a `load` function that returns typed records.

They read what the corpora's authors publish (see docs/training.md for where), know the official splits and the traps
of each set, and know nothing of models.
"""
