"""Run as a program: sorts the recording of a folder again and again, each time killed by SIGKILL at another place.

``python kill_helpers.py RECORDING FOLDER PLACE...`` forks a process for each place `SORT:STAGE:WHEN`. In it the sort
into FOLDER/SORT, resumed where there is one, dies when the stage is about to run (`before`), has run and half of its
file is written (`during`), or is kept (`after`). The stage `save` is the writing of the Sorting.
"""

import os
import signal
import sys
import traceback
from pathlib import Path

STAGES = (
    "preprocess", "cache traces", "detect peaks", "embed spikes", "estimate motion", "measure noise", "cluster",
    "make units", "refine units", "assign spikes",
)  # fmt: skip


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(name, when):
    """Patch the package so that this process dies there."""
    from spikeinterface_huidurep import record

    if name == "save":
        from spikeinterface.core import BaseSorting

        if when == "before":
            BaseSorting.save = die
        else:
            from spikeinterface_huidurep.sorter import shutil

            path_rename, rmtree = Path.rename, shutil.rmtree
            if when == "during":
                Path.rename = lambda path, target: die() if path.name.endswith("partial") else path_rename(path, target)
            else:
                shutil.rmtree = lambda path, **kw: die() if Path(path).name == "stages" else rmtree(path, **kw)
        return
    stage, write = record.Record.stage, record.write_result

    def write_and_die(path, result):
        if when == "after":
            write(path, result)
        else:
            path.with_suffix(".partial").write_bytes(b"half of a file")
        die()

    def stage_and_die(self, this):
        if this == name:
            if when == "before":
                die()
            record.write_result = write_and_die
        return stage(self, this)

    record.Record.stage = stage_and_die


def sort_and_die(recording, folder, name, when):
    from spikeinterface.core import load
    from spikeinterface.sorters import run_sorter

    from spikeinterface_huidurep import resume

    kill_at(name, when)
    if folder.exists():
        resume(folder)
    else:
        run_sorter("huidurep", load(recording), folder=folder, n_jobs=1, device="cpu")


def main(recording, folder, *places):
    import spikeinterface.full  # noqa: F401 (imported once, for all that are forked)
    import torch

    import spikeinterface_huidurep.sort  # noqa: F401

    torch.set_num_threads(1)
    for place in places:
        where, name, when = place.split(":")
        child = os.fork()
        if child == 0:
            try:
                sort_and_die(recording, Path(folder) / where, name, when)
            except BaseException:
                traceback.print_exc()
            os._exit(1)  # reached only where nothing killed the process
        _, status = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            sys.exit(f"the sort was not killed at {place}: status {status}")


if __name__ == "__main__":
    main(*sys.argv[1:])
