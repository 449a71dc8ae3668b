"""NOVA's database: the documents in it."""
