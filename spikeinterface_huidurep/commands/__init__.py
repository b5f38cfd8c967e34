"""The subcommands of ``huidurep``: one module each, found by `spikeinterface_huidurep.cli`."""
