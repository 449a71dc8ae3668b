"""Speech activity, turns and segmentations."""
