"""Jobs of many recordings: what is chosen, the task of a worker, the routes of /v1."""
