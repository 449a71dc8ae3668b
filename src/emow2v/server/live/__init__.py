"""Live streams over a WebSocket: the connection, steps of all streams together, and how many the machine can compute."""
