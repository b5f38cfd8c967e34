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
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

from .chunks import run_in_chunks
from .scaling import NoiseUnitsRecording

logger = logging.getLogger("spikeinterface_huidurep")

# steps per unit of noise: rounding adds noise of 0.005, and 511 units of noise fit into int16
STEPS_PER_NOISE = 64
IN_STEPS, EXACT = np.dtype("int16"), np.dtype("float32")
# share of the free disk space that the traces may take. An hour of 384 channels takes 41.5 GB; without a cache each of
# some eight stages filters them anew, 10 min each on two cores
MOST_OF_FREE = 0.8
# classes of recordings that read or rearrange what is stored; others compute their traces
STORED, GENERATED = ("spikeinterface.core.", "spikeinterface.extractors."), "spikeinterface.core.generate."


def is_computed(recording: BaseRecording) -> bool:
    """Whether the traces, or those that they are taken from, are computed whenever they are read."""
    classes, nodes = [], [recording.to_dict(recursive=True)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            classes += [node["class"]] if "class" in node and "kwargs" in node else []
            nodes += node.values()
        elif isinstance(node, (list, tuple)):
            nodes += node
    return not all(name.startswith(STORED) and not name.startswith(GENERATED) for name in classes)


@contextmanager
def cached_traces(
    recording: BaseRecording,
    folder: Path | None = None,
    *,
    exact: bool = False,
    max_gb: float = 100.0,
    job_kwargs: dict | None = None,
) -> Iterator[BaseRecording]:
    """
    Write the traces to disk for as long as the context lasts.

    Every later stage reads the traces once, some twice, and filtering costs more than most of them. Nothing is written
    where the traces need more than `max_gb` or four fifths of what is free on the disk; then each stage filters anew.

    Parameters
    ----------
    recording : BaseRecording
        Preprocessed traces, float32, in units of noise.
    folder : Path, optional
        Where the temporary folder is made; the system's folder for temporary files if None.
    exact : bool
        Keep the traces as they are (4 bytes a value), not rounded to 1/64 of the noise (2 bytes).
    max_gb : float
        Most disk space that may be taken, in GB (1e9 bytes).
    job_kwargs : dict, optional
        SpikeInterface's parameters for parallel processing.

    Yields
    ------
    BaseRecording
        The same traces, read from disk; unless they are exact, to within 1/128 of the noise and clipped at 511 times
        the noise. The recording itself where it is not cached.
    """
    dtype = EXACT if exact else IN_STEPS
    size = recording.get_total_samples() * recording.get_num_channels() * dtype.itemsize
    parent = Path(folder or tempfile.gettempdir())
    free = shutil.disk_usage(parent).free
    if size > min(max_gb * 1e9, MOST_OF_FREE * free):
        logger.info(
            "the filtered traces are not cached: they need %.1f GB, of %.1f allowed and %.1f free",
            size / 1e9, max_gb, free / 1e9,
        )  # fmt: skip
        yield recording
        return
    temporary = Path(tempfile.mkdtemp(prefix="huidurep_traces_", dir=parent))
    try:
        yield _on_disk(recording, temporary, dtype, job_kwargs)
    finally:
        # Windows keeps an open file: what stays behind there lies in a folder for temporary files
        shutil.rmtree(temporary, ignore_errors=True)


def _on_disk(recording, folder, dtype, job_kwargs):
    """Write the traces into one file, segment after segment, and open it."""
    path, lengths = folder / "traces.raw", _lengths(recording)
    path.touch()
    context = dict(recording=recording, path=path, dtype=dtype, starts=np.cumsum([0, *lengths]).tolist())
    # written with seek and write: on a full disk that is an error, where a memory map would kill the process
    run_in_chunks(recording, _write_chunk, context, job_name="cache traces", job_kwargs=job_kwargs)
    rate, ids = recording.sampling_frequency, recording.channel_ids
    traces: BaseRecording = read_binary(path, rate, dtype, len(ids), channel_ids=ids)
    if len(lengths) > 1:
        traces = CutRecording(traces, lengths)
    recording.copy_metadata(traces, only_main=False)
    return traces if dtype == EXACT else NoiseUnitsRecording(traces, 1 / STEPS_PER_NOISE)


def _lengths(recording):
    return [recording.get_num_samples(segment) for segment in range(recording.get_num_segments())]


def _write_chunk(segment_index, start_frame, end_frame, context):
    traces = context["recording"].get_traces(segment_index=segment_index, start_frame=start_frame, end_frame=end_frame)
    dtype = context["dtype"]
    if dtype == IN_STEPS:
        steps = traces * STEPS_PER_NOISE
        np.rint(steps, out=steps)
        limits = np.iinfo(dtype)
        traces = np.clip(steps, limits.min, limits.max, out=steps)
    with context["path"].open("r+b") as file:
        file.seek((context["starts"][segment_index] + start_frame) * traces.shape[1] * dtype.itemsize)
        file.write(np.ascontiguousarray(traces, dtype=dtype))


class CutRecording(BasePreprocessor):
    """
    A recording of one segment as several.

    A file a segment would be open for each, and a system allows a process a thousand or fewer.

    Parameters
    ----------
    recording : BaseRecording
        Of one segment.
    lengths : list of int
        Samples of each segment, one after the other.
    """

    name = "cut"

    def __init__(self, recording: BaseRecording, lengths: list[int]):
        BasePreprocessor.__init__(self, recording)
        for length, end in zip(lengths, np.cumsum(lengths).tolist(), strict=True):
            self.add_recording_segment(_CutSegment(recording.segments[0], end - length, length))
        self._kwargs = dict(recording=recording, lengths=[int(length) for length in lengths])


class _CutSegment(BasePreprocessorSegment):
    def __init__(self, parent, start, length):
        BasePreprocessorSegment.__init__(self, parent)
        self.start, self.length = start, length

    def get_num_samples(self) -> int:
        return self.length

    def get_traces(self, start_frame, end_frame, channel_indices):
        return self.parent_recording_segment.get_traces(
            self.start + start_frame, self.start + end_frame, channel_indices
        )
