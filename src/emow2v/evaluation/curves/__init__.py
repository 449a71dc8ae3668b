"""How well scores over time follow people's own continuous annotations of the same recordings."""
