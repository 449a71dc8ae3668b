"""The models that a process keeps in memory, and how much of it they take."""
