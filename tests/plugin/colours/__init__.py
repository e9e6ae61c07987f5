"""A package that is not ours, and adds to Moodstream by entry points alone."""
