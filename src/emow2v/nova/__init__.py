"""NOVA's database: its documents, connections to it, and annotations written in steps."""
