"""The encoder's vectors as an extension of any SortingAnalyzer: ``analyzer.compute("huidurep_embeddings")``."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikeinterface.core import BaseRecording, sortinganalyzer
from spikeinterface.core.sortinganalyzer import AnalyzerExtension, register_result_extension

EXTENSION_NAME = "huidurep_embeddings"


class HuiduRepEmbeddings(AnalyzerExtension):
    """
    Embedding, location and amplitude of the random spikes of an analyzer, for units of any sorter.

    The recording is preprocessed as in the encoder's training: band-passed and common median referenced where that has
    not been done, and divided by the noise.

    Parameters
    ----------
    model : str, default: "default"
        Name or file of the encoder, see `spikeinterface_huidurep.load_encoder`.
    device : str, default: "auto"
        "cpu", "cuda" or "auto".

    Returns
    -------
    embedding : (n_random_spikes, 32) float32
        In the order of the extension "random_spikes". ``get_data(outputs="location")`` gives the locations,
        (n_random_spikes, 2) float32, um; ``outputs="amplitude"`` the depths of the denoised troughs,
        (n_random_spikes,) float32, in units of noise; ``outputs="confidence"`` the fraction of each spike's nearest
        neighbours that belong to its unit, (n_random_spikes,) float32, see `spike_confidence`;
        ``outputs="unit_index"`` the unit of each spike.
    """

    extension_name = EXTENSION_NAME
    depend_on = ["random_spikes"]
    need_recording = True
    use_nodepipeline = False
    need_job_kwargs = True

    _OUTPUTS = ("embedding", "location", "amplitude")

    def _set_params(self, model: str = "default", device: str = "auto") -> dict[str, Any]:
        return dict(model=str(model), device=str(device))

    def _run(self, verbose: bool = False, **job_kwargs: Any) -> None:
        analyzer = self.sorting_analyzer
        spikes = analyzer.get_extension("random_spikes").get_random_spikes()
        features = embed_spikes(analyzer, spikes, self.params["model"], self.params["device"], job_kwargs)
        for name, values in zip(self._OUTPUTS, features, strict=True):
            self.data[name] = values

    def _get_data(self, outputs: str = "embedding") -> np.ndarray:
        if outputs == "unit_index":
            return np.asarray(self._random_spikes(self.sorting_analyzer)["unit_index"])
        if outputs == "confidence":
            return self._confidence()
        if outputs not in self._OUTPUTS:
            raise ValueError(f"outputs must be one of {', '.join((*self._OUTPUTS, 'confidence', 'unit_index'))}.")
        return self.data[outputs]

    def _confidence(self) -> np.ndarray:
        from .neighbours import spike_confidence

        # it depends on the units, which merges and splits change: cached in this object, never saved
        if not hasattr(self, "_cached_confidence"):
            units = self._get_data("unit_index")
            self._cached_confidence = spike_confidence(self.data["embedding"], self.data["location"], units)
        return self._cached_confidence

    @staticmethod
    def _random_spikes(analyzer: Any) -> np.ndarray:
        return analyzer.get_extension("random_spikes").get_random_spikes()

    def _rows(self, keep: np.ndarray) -> dict[str, np.ndarray]:
        return {name: np.asarray(values)[keep] for name, values in self.data.items()}

    def _select_units_extension_data(self, unit_ids: Any) -> dict[str, np.ndarray]:
        kept = self.sorting_analyzer.sorting.ids_to_indices(unit_ids)
        return self._rows(np.isin(self._get_data("unit_index"), kept))

    def _merge_extension_data(
        self, merge_unit_groups, new_unit_ids, new_sorting_analyzer, keep_mask=None, verbose=False, **job_kwargs
    ) -> dict[str, np.ndarray]:
        # duplicate spikes that a merge removes are not among the new random spikes
        indices = self.sorting_analyzer.get_extension("random_spikes").get_data()
        return self._rows(np.ones(len(indices), dtype=bool) if keep_mask is None else keep_mask[indices])

    def _split_extension_data(
        self, split_units, new_unit_ids, new_sorting_analyzer, verbose=False, **job_kwargs
    ) -> dict[str, np.ndarray]:
        return self._rows(np.ones(len(self.data["embedding"]), dtype=bool))


def embed_spikes(
    analyzer: Any, spikes: np.ndarray, model: str, device: str, job_kwargs: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Embed spikes of an analyzer's units.

    Parameters
    ----------
    analyzer : SortingAnalyzer
        With its recording.
    spikes : (n_spikes,) structured array
        `sample_index`, `segment_index`, `unit_index`, as in its spike vector.
    model, device : str
        See `spikeinterface_huidurep.load_encoder`.
    job_kwargs : dict
        SpikeInterface's parameters for parallel processing.

    Returns
    -------
    embedding, location, amplitude
        Of each spike, as in `HuiduRepEmbeddings`.
    """
    from ..encoder import load_encoder
    from ..stages.peaks.encoding import SPARE, encode_peaks

    traces = traces_in_noise_units(analyzer.recording)
    peaks = _as_peaks(spikes, _channels_in(traces, analyzer), _upside_down(analyzer))
    encoder = load_encoder(model, device)
    channels = encoder.config.channels + SPARE
    embedding, location, amplitude = encode_peaks(traces, peaks, encoder, n_channels=channels, job_kwargs=job_kwargs)
    return embedding, location, amplitude


def _upside_down(analyzer: Any) -> np.ndarray:
    """Units with a positive main peak, (n_units,) bool; all False without the extension "templates"."""
    templates = analyzer.get_extension("templates")
    if templates is None:
        return np.zeros(analyzer.get_num_units(), dtype=bool)
    average = templates.get_templates(operator="average")
    main = average[np.arange(len(average)), :, analyzer.get_main_channels(outputs="index")]
    return main[:, templates.nbefore] > 0


def traces_in_noise_units(recording: BaseRecording) -> BaseRecording:
    """
    Lazy float32 traces, preprocessed as the encoder needs them, from raw or filtered ones.

    Parameters
    ----------
    recording : BaseRecording
        Filtered and referenced only if ``recording.is_filtered()`` is False.

    Raises
    ------
    ValueError
        If every channel is silent.
    """
    from ..stages.traces.preprocessing import preprocess

    raw = not recording.is_filtered()
    traces = preprocess(recording, apply_filter=raw, apply_common_reference=raw)
    if traces is None:
        raise ValueError("Every channel of the recording is silent: there are no spikes to embed.")
    return traces


def _channels_in(traces: BaseRecording, analyzer: Any) -> np.ndarray:
    """Index in `traces` of each unit's main channel, or of the nearest one where that channel is silent, (n_units,)."""
    places = analyzer.get_channel_locations()[analyzer.get_main_channels(outputs="index")]
    distances = np.linalg.norm(places[:, None] - traces.get_channel_locations()[None], axis=2)
    return distances.argmin(axis=1)


def _as_peaks(spikes: np.ndarray, channels: np.ndarray, upside_down: np.ndarray) -> np.ndarray:
    """Spikes as peaks on their units' main channels; of the amplitude only the sign is used."""
    from spikeinterface.core.node_pipeline import base_peak_dtype

    peaks = np.zeros(len(spikes), dtype=base_peak_dtype)
    peaks["sample_index"], peaks["segment_index"] = spikes["sample_index"], spikes["segment_index"]
    peaks["channel_index"] = channels[spikes["unit_index"]]
    peaks["amplitude"] = np.where(upside_down[spikes["unit_index"]], 1.0, -1.0)
    return peaks


def register_extension() -> type[HuiduRepEmbeddings]:
    """
    Register the extension "huidurep_embeddings" in SpikeInterface; may be called repeatedly.

    Returns
    -------
    type[HuiduRepEmbeddings]
        The registered class.
    """
    known = sortinganalyzer._possible_extensions
    # removes a class of this name from an earlier import of this package
    known[:] = [one for one in known if one.extension_name != EXTENSION_NAME or one is HuiduRepEmbeddings]
    register_result_extension(HuiduRepEmbeddings)
    return HuiduRepEmbeddings
