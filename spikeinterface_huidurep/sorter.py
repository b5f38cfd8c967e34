"""The sorter, as SpikeInterface runs it: `run_sorter("huidurep", recording)`."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface.sorters.basesorter import BaseSorter

from .jobs import resolve_job_kwargs
from .parameters import DEFAULT_PARAMS, PARAMS_DESCRIPTION, check_names, check_params

if TYPE_CHECKING:
    from .log_file import SortLog

logger = logging.getLogger("spikeinterface_huidurep")


class _Refused(BaseException):
    """
    Carries the reason why a recording cannot be sorted past SpikeInterface.

    It is no Exception, of which SpikeInterface would make a failed sort with a folder, a log and its own error.
    """

    def __init__(self, reason):
        super().__init__(str(reason))
        self.reason = reason


class HuiduRepSorter(BaseSorter):
    """
    Spike sorting on self-supervised representations of the spikes.

    Peaks are encoded by a network that was trained, by contrastive learning and as a denoising autoencoder, to give
    spikes of one neuron the same vector in spite of noise, overlap and drift (HuiduRep, arXiv 2507.17224). Density
    clusters of the vectors, merged where the noise cannot tell them apart, give templates that follow the probe's
    motion; matching pursuit with these finds every spike, overlapping ones too.
    """

    sorter_name = "huidurep"
    # they are required, which check_recording sees to: SpikeInterface would refuse shanks at one place, and probes in
    # space whose contacts lie above each other
    requires_locations = False
    gpu_capability = "nvidia-optional"
    requires_binary_data = False
    handle_multi_segment = True
    compatible_with_parallel = {"loky": True, "multiprocessing": True, "threading": True}

    _default_params = DEFAULT_PARAMS
    _params_description = PARAMS_DESCRIPTION
    sorter_description = (
        "HuiduRep: self-supervised spike representations (contrastive learning and a denoising autoencoder, "
        "arXiv 2507.17224), density clustering, motion-following templates and matching pursuit. Any probe, no number "
        "of clusters to set, CPU or GPU."
    )
    installation_mesg = "    pip install spikeinterface-huidurep"

    @classmethod
    def is_installed(cls) -> bool:
        from importlib.util import find_spec

        return all(find_spec(name) is not None for name in ("torch", "numba", "sklearn", "hdbscan", "safetensors"))

    @classmethod
    def get_sorter_version(cls) -> str:
        from .version import __version__

        return __version__

    @classmethod
    def initialize_folder(cls, recording, output_folder, verbose, remove_existing_folder):
        from .checks import check_folder, check_recording

        check_recording(recording)
        folder = Path(output_folder or f"{cls.sorter_name}_output").absolute()
        check_folder(recording, folder)
        existed = folder.exists()
        try:
            return super().initialize_folder(recording, output_folder, verbose, remove_existing_folder)
        except Exception:
            if not existed:
                shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def set_params_to_folder(cls, recording, output_folder, new_params, verbose):
        try:
            check_names(new_params)
            return super().set_params_to_folder(recording, output_folder, new_params, verbose)
        except Exception:
            # nothing was sorted: a folder that is left behind would only be in the way of the next try
            shutil.rmtree(output_folder, ignore_errors=True)
            raise

    @classmethod
    def run_from_folder(cls, output_folder, raise_error, verbose):
        try:
            return super().run_from_folder(output_folder, raise_error, verbose)
        except _Refused as refusal:
            # the checks before the sort look at parts of the recording: what they miss ends in the same way
            shutil.rmtree(output_folder, ignore_errors=True)
            raise refusal.reason from None

    @classmethod
    def _check_params(cls, recording, output_folder, params):
        from .checks import check_fit
        from .known_units import check_known_units
        from .stages.motion.clock import given_motion

        check_params(params)
        if params["known_units"] is not None:
            # a job may run, or be resumed, in another folder
            params["known_units"] = str(Path(params["known_units"]).expanduser().absolute())
        if recording is not None:
            check_fit(recording, params)
            given_motion(params["motion_folder"], recording)
            if params["known_units"] is not None:
                check_known_units(params["known_units"], recording, params)
        return params

    @classmethod
    def _check_apply_filter_in_params(cls, params):
        return params["apply_preprocessing"]

    @classmethod
    def _setup_recording(cls, recording, sorter_output_folder, params, verbose):
        pass

    @classmethod
    def _run_from_folder(cls, sorter_output_folder, params, verbose):
        from .checks import BadTracesError
        from .log_file import open_log

        output = Path(sorter_output_folder)
        if (output / "sorting").is_dir():
            # killed between the last stage and SpikeInterface's log: nothing is missing but that
            shutil.rmtree(output / "stages", ignore_errors=True)
            return
        try:
            with open_log(output) as log:
                cls._sort(output, params, verbose, log)
        except BadTracesError as error:
            raise _Refused(error) from error

    @classmethod
    def _sort(cls, output: Path, params: dict[str, Any], verbose: bool, log: SortLog) -> None:
        """Sort the recording of a folder, and save what is found there."""
        from .known_units import FILE, describe_session, write_known_units
        from .record import Record
        from .sort import sort_recording
        from .sort_header import open_stages

        recording = cls.load_recording_from_folder(output.parent, with_warnings=False)
        job_kwargs = resolve_job_kwargs(params, verbose, recording.get_num_channels())
        log.note_sort(recording, params, job_kwargs)
        stages = open_stages(output, params)
        record = Record(output / "intermediate" if params["save_intermediate"] else None, stages)
        record.bars = job_kwargs["progress_bar"]
        # SpikeInterface's many bars are what a stage's one bar, or the line a minute, is counted from
        sorting = sort_recording(recording, params, {**job_kwargs, "progress_bar": True}, record)
        log.note_result(sorting)
        np.save(output / "spike_confidence.npy", sorting.spike_confidence)
        write_known_units(output / FILE, sorting.known_units, describe_session(recording, params))
        # the name of a result is given to what is whole
        partial = output / "sorting.partial"
        shutil.rmtree(partial, ignore_errors=True)
        sorting.save(folder=partial)
        partial.rename(output / "sorting")
        shutil.rmtree(stages.folder, ignore_errors=True)

    @classmethod
    def _get_result_from_folder(cls, sorter_output_folder):
        from spikeinterface.core import load

        return load(Path(sorter_output_folder) / "sorting")
