"""Callbacks: keys that sign them, and their delivery."""
