"""Templates that follow the motion, and the whitened coordinates in which they are compared."""
