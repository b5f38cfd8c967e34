"""The stages of the sort, one file each: arrays and SpikeInterface objects in, arrays out."""
