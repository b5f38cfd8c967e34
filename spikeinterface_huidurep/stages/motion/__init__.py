"""How the probe moves against the tissue."""
