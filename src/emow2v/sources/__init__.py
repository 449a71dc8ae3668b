"""Recordings at addresses: which addresses are allowed, one checked client, and files that are fetched as they are read."""
