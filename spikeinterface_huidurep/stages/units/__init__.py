"""Units: made of clusters, split, joined, dropped."""
