"""Grouping: which templates are one neuron's, by how one neuron's waveform varies and by spike times."""
