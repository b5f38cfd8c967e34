"""Caching: the preprocessed traces lie on disk while a shank is sorted, so that they are filtered once."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from spikeinterface.core import BaseRecording, read_binary

from .chunks import run_in_chunks
from .scaling import NoiseUnitsRecording

logger = logging.getLogger("spikeinterface_huidurep")

# steps per unit of noise: rounding adds noise of 0.005, and 511 units of noise fit into int16
STEPS_PER_NOISE = 64
DTYPE = np.dtype("int16")


@contextmanager
def cached_traces(
    recording: BaseRecording, folder: Path | None = None, *, max_gb: float = 100.0, job_kwargs: dict | None = None
) -> Iterator[BaseRecording]:
    """
    Write the traces to disk as int16 for as long as the context lasts.

    Every later stage reads the traces once, some twice, and filtering costs more than most of them. Nothing is written
    where the traces need more than `max_gb` or half of what is free on the disk; then each stage filters anew.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, float32, in units of noise.
    folder : Path, optional
        Where the temporary folder is made; the system's folder for temporary files if None.
    max_gb : float
        Most disk space that may be taken, in GB (1e9 bytes).
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Yields
    ------
    BaseRecording
        The same traces to within 1/128 of the noise, clipped at 511 times the noise, read from disk; the recording
        itself where it is not cached.
    """
    size = recording.get_total_samples() * recording.get_num_channels() * DTYPE.itemsize
    parent = Path(folder or tempfile.gettempdir())
    free = shutil.disk_usage(parent).free
    if size > min(max_gb * 1e9, 0.5 * free):
        logger.info(
            "the filtered traces are not cached: they need %.1f GB, of %.1f allowed and %.1f free",
            size / 1e9, max_gb, free / 1e9,
        )  # fmt: skip
        yield recording
        return
    temporary = Path(tempfile.mkdtemp(prefix="huidurep_traces_", dir=parent))
    try:
        yield _on_disk(recording, temporary, job_kwargs)
    finally:
        # Windows keeps an open file: what stays behind there lies in a folder for temporary files
        shutil.rmtree(temporary, ignore_errors=True)


def _on_disk(recording, folder, job_kwargs):
    """Write the traces, one file a segment, and open them."""
    paths = [folder / f"segment_{index}.raw" for index in range(recording.get_num_segments())]
    for path in paths:
        path.touch()
    # written with seek and write: on a full disk that is an error, where a memory map would kill the process
    context = dict(recording=recording, paths=paths)
    run_in_chunks(recording, _write_chunk, context, job_name="cache traces", job_kwargs=job_kwargs)
    traces = read_binary(
        paths, recording.sampling_frequency, DTYPE, recording.get_num_channels(), channel_ids=recording.channel_ids
    )
    recording.copy_metadata(traces, only_main=False)
    return NoiseUnitsRecording(traces, 1 / STEPS_PER_NOISE)


def _write_chunk(segment_index, start_frame, end_frame, context):
    traces = context["recording"].get_traces(segment_index=segment_index, start_frame=start_frame, end_frame=end_frame)
    steps = traces * STEPS_PER_NOISE
    np.rint(steps, out=steps)
    limits = np.iinfo(DTYPE)
    with context["paths"][segment_index].open("r+b") as file:
        file.seek(start_frame * traces.shape[1] * DTYPE.itemsize)
        file.write(np.clip(steps, limits.min, limits.max, out=steps).astype(DTYPE))
