"""Peaks: found, encoded and clustered."""
