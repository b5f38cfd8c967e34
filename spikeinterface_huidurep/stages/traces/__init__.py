"""From raw traces to filtered traces in units of noise."""
