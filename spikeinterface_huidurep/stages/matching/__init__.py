"""Which unit each spike is of, overlapping spikes too."""
