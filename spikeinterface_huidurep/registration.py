"""Registers the sorter in SpikeInterface.

`register` adds `HuiduRepSorter` to SpikeInterface's list of sorters. It runs when ``spikeinterface_huidurep`` is
imported and, through the import hook that is installed with this package (``spikeinterface_huidurep_hook``), when
``spikeinterface.sorters`` is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sorter import HuiduRepSorter


def register() -> type[HuiduRepSorter]:
    """Make the sorter available to ``run_sorter("huidurep", ...)`` and SpikeInterface's other functions.

    May be called repeatedly: the sorter is listed once, and an earlier class of the same name is replaced.

    Returns
    -------
    type[HuiduRepSorter]
        The registered class.

    Raises
    ------
    ImportError
        If SpikeInterface, or a package that the sorter imports at once, is missing.
    """
    from spikeinterface.sorters import sorterlist

    from .sorter import HuiduRepSorter

    name = HuiduRepSorter.sorter_name
    # Changed in place: run_sorter and spikeinterface.full hold references to these objects.
    others = [sorter for sorter in sorterlist.sorter_full_list if sorter.sorter_name != name]
    sorterlist.sorter_full_list[:] = [*others, HuiduRepSorter]
    sorterlist.sorter_dict[name] = HuiduRepSorter
    return HuiduRepSorter
