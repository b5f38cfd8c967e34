"""From matched spikes to a Sorting."""
