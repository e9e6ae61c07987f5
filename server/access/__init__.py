"""Who calls, and what they may do. Free of any transport."""
