"""Large models that teach the students. Their weights belong to others: fetched into a cache, never committed."""
