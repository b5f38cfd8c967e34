"""The sorter, as SpikeInterface runs it: `run_sorter("huidurep", recording)`."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
from spikeinterface.sorters.basesorter import BaseSorter

from .parameters import DEFAULT_PARAMS, PARAMS_DESCRIPTION, check_params, resolve_job_kwargs

logger = logging.getLogger("spikeinterface_huidurep")


class HuiduRepSorter(BaseSorter):
    """
    Spike sorting on self-supervised representations of the spikes.

    Peaks are encoded by a network that was trained, by contrastive learning and as a denoising autoencoder, to give
    spikes of one neuron the same vector in spite of noise, overlap and drift (HuiduRep, arXiv 2507.17224). Density
    clusters of the vectors, merged where the noise cannot tell them apart, give templates that follow the probe's
    motion; matching pursuit with these finds every spike, overlapping ones too.
    """

    sorter_name = "huidurep"
    requires_locations = True
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
        from . import __version__

        return __version__

    @classmethod
    def initialize_folder(cls, recording, output_folder, verbose, remove_existing_folder):
        from .checks import check_recording

        check_recording(recording)
        folder = Path(output_folder or f"{cls.sorter_name}_output").absolute()
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
            return super().set_params_to_folder(recording, output_folder, new_params, verbose)
        except Exception:
            # nothing was sorted: a folder that is left behind would only be in the way of the next try
            shutil.rmtree(output_folder, ignore_errors=True)
            raise

    @classmethod
    def _check_params(cls, recording, output_folder, params):
        check_params(params)
        return params

    @classmethod
    def _check_apply_filter_in_params(cls, params):
        return params["apply_preprocessing"]

    @classmethod
    def _setup_recording(cls, recording, sorter_output_folder, params, verbose):
        pass

    @classmethod
    def _run_from_folder(cls, sorter_output_folder, params, verbose):
        from .sort import sort_recording

        sorter_output_folder = Path(sorter_output_folder)
        recording = cls.load_recording_from_folder(sorter_output_folder.parent, with_warnings=False)
        intermediate = sorter_output_folder / "intermediate" if params["save_intermediate"] else None
        sorting = sort_recording(recording, params, resolve_job_kwargs(params, verbose), intermediate)
        np.save(sorter_output_folder / "spike_confidence.npy", sorting.spike_confidence)
        sorting.save(folder=sorter_output_folder / "sorting")

    @classmethod
    def _get_result_from_folder(cls, sorter_output_folder):
        from spikeinterface.core import load

        return load(Path(sorter_output_folder) / "sorting")
