"""People who share a server: their names and tokens, what belongs to them, their limits, and what they did."""
