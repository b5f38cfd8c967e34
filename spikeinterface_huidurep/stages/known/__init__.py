"""Known units: those of an earlier sort, found where the probe is now."""
