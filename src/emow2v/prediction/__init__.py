"""Prediction: computation in batches, trajectories that are computed when they are needed, models in processes."""
