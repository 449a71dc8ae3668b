"""From a recording to its rows: computation in batches, trajectories that are computed when needed, other processes."""
