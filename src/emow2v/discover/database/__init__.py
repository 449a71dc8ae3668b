"""Requests whose inputs and outputs NOVA's database names: the origin db:."""
