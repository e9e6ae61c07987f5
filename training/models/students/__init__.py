"""Students of research tasks, which are not served."""
