"""How well spikes of neighbouring neurons are told apart: the encoder compared with PCA and per-channel SVD."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .data import TemplateBank
from .episodes import TABLE, Episode, EpisodeConfig, draw_episodes
from .inference import EncodedSpikes, Encoder
from .network import EncoderConfig

logger = logging.getLogger(__name__)

PRINCIPAL = 10
_BASELINE_CHANNELS = 12
_SVD_COMPONENTS = 5
_NEIGHBOURS = 11
_LOCATION_UM = 20.0
_FITS, _FLOOR = 10, 1e-2
_WINDOW = EncoderConfig()  # the baselines get the window of the default network
Features = Callable[[Episode], np.ndarray]


def principal_components(features: np.ndarray, dimensions: int = PRINCIPAL) -> np.ndarray:
    """The first principal components of (n, m) features."""
    centred = features - features.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return centred @ vectors[:, ::-1][:, :dimensions]


def _own_channels(episode: Episode) -> np.ndarray:
    """The network's window on the dozen channels nearest to each spike's detected channel, (n, T, channels)."""
    waveforms, _ = neighbourhoods(episode, _BASELINE_CHANNELS)
    start = episode.nbefore - _WINDOW.nbefore
    return waveforms[:, start : start + _WINDOW.samples]


def _common_channels(episode: Episode) -> np.ndarray:
    """The same on the dozen channels nearest to the episode's units, one set for all spikes.

    Only an evaluation knows such a set; it hands the baselines the units' places on the probe, which the encoder's
    vectors leave out on purpose (its location is a result of its own).
    """
    locations = episode.channel_locations
    centre = locations[episode.detected].mean(axis=0)
    near = np.argsort(((locations - centre) ** 2).sum(axis=1))[:_BASELINE_CHANNELS]
    start = episode.nbefore - _WINDOW.nbefore
    return episode.waveforms[:, start : start + _WINDOW.samples][:, :, near]


def raw_features(episode: Episode) -> np.ndarray:
    """Waveforms as they are, on each spike's own channels, (n, samples x channels)."""
    window = _own_channels(episode)
    return window.reshape(len(window), -1)


def svd_features(episode: Episode) -> np.ndarray:
    """Per-channel SVD on each spike's own channels, (n, 5 x channels)."""
    return _svd(_own_channels(episode))


def common_svd_features(episode: Episode) -> np.ndarray:
    """Per-channel SVD on channels common to the episode, (n, 5 x channels)."""
    return _svd(_common_channels(episode))


def _svd(window: np.ndarray) -> np.ndarray:
    """The first singular components of the channels' waveforms, fitted on the louder half of them."""
    n, samples, channels = window.shape
    rows = window.transpose(0, 2, 1).reshape(-1, samples)
    size = np.ptp(rows, axis=1)
    vectors = np.linalg.svd(rows[size > np.median(size)], full_matrices=False)[2][:_SVD_COMPONENTS]
    return (rows @ vectors.T).reshape(n, channels * _SVD_COMPONENTS)


def encoder_features(encoder: Encoder) -> Features:
    """The encoder's vectors without the place; it sees the 28 channels nearest to each spike's detected channel."""
    return _encoder_methods(encoder)["encoder, shape alone"]


def located_features(encoder: Encoder) -> Features:
    """What the sorter clusters: ten principal components of the vectors, and the location in units of 20 um."""
    return _encoder_methods(encoder)["as the sorter clusters"]


def _encoder_methods(encoder: Encoder) -> dict[str, Features]:
    """All, of one pass of the encoder over an episode: what ``embed`` returns, the same without the place, and the
    sorter's space."""

    @lru_cache(maxsize=1)
    def encode(episode: Episode) -> EncodedSpikes:
        waveforms, locations = neighbourhoods(episode)
        return encoder.encode(waveforms, locations, encoder.config.sampling_frequency, episode.nbefore)

    return {
        "encoder": lambda episode: encode(episode).placed(episode.channel_locations.mean(axis=0)),
        "encoder, shape alone": lambda episode: encode(episode).shape_vectors,
        "as the sorter clusters": lambda episode: cluster_space(encode(episode)),
    }


def cluster_space(spikes: EncodedSpikes) -> np.ndarray:
    """Ten principal components of the vectors in units of their deviation, and the location in units of 20 um."""
    reduced = principal_components(spikes.shape_vectors)
    return np.concatenate([reduced / max(float(reduced.std()), 1e-9), spikes.location / _LOCATION_UM], axis=1)


def neighbourhoods(episode: Episode, count: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms (n, samples, count) and locations (n, count, 2) of the channels nearest to the detected one."""
    locations = episode.channel_locations
    distance = ((locations[:, None] - locations[None]) ** 2).sum(axis=2)
    near = np.argsort(distance, axis=1, kind="stable")[:, :count][episode.detected]
    waveforms = np.take_along_axis(episode.waveforms, near[:, None, :], axis=2)
    return waveforms, locations[near]


@dataclass(frozen=True)
class Scores:
    """Scores of one feature set on one episode: ARI of a Gaussian mixture with the true number of units on the features
    and on their first principal components, ARI of HDBSCAN without that number, and the share of the 11
    nearest neighbours that are of the spike's own unit."""

    ari: float
    ari_principal: float
    ari_hdbscan: float
    purity: float


def score(features: np.ndarray, labels: np.ndarray, seed: int = 0, hdbscan: bool = True) -> Scores:
    """Score features (n, m) against the true units (n,)."""
    from sklearn.metrics import adjusted_rand_score
    from sklearn.neighbors import NearestNeighbors

    scaled = (features - features.mean(axis=0)) / max(float(features.std()), 1e-9)
    reduced = principal_components(scaled) if scaled.shape[1] > PRINCIPAL + 2 else scaled
    reduced = reduced / max(float(reduced.std()), 1e-9)
    count = len(np.unique(labels))
    principal = adjusted_rand_score(labels, _mixture(reduced, count, seed))
    full = principal  # a few dimensions need no reduction; of hundreds a mixture cannot be estimated
    if 2 * PRINCIPAL < scaled.shape[1] <= 40:
        full = adjusted_rand_score(labels, _mixture(scaled, count, seed))
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(reduced).kneighbors(return_distance=False)
    purity = float((labels[near] == labels[:, None]).mean())
    density = float("nan")
    if hdbscan:
        from hdbscan import HDBSCAN

        found = HDBSCAN(min_cluster_size=30, min_samples=10).fit_predict(reduced.astype(np.float64))
        density = adjusted_rand_score(labels, found)
    return Scores(full, principal, density, purity)


def _mixture(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The likeliest of several fits: a single one often ends with two components in one unit.

    The floor of the covariance, in parts of the features' variance, keeps components from closing on a few outliers,
    which is likelier than the truth where units overlap.
    """
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(count, covariance_type="full", n_init=_FITS, reg_covar=_FLOOR, random_state=seed)
    return model.fit_predict(features.astype(np.float64))


def denoising_error(encoder: Encoder, episode: Episode, channels: int = 12) -> tuple[float, float]:
    """Mean squared error of the denoised and of the noisy waveforms against the clean ones, on the ``channels`` nearest
    to each spike and within the network's window."""
    near, locations = neighbourhoods(episode, channels)
    clean = neighbourhoods(replace(episode, waveforms=episode.clean), channels)[0]
    denoised = encoder.denoise(near, locations, encoder.config.sampling_frequency, episode.nbefore)
    start = episode.nbefore - encoder.config.nbefore
    window = slice(start, start + encoder.config.samples)
    return (
        float(np.square(denoised[:, window] - clean[:, window]).mean()),
        float(np.square(near[:, window] - clean[:, window]).mean()),
    )


def evaluate(
    encoder: Encoder,
    folder: str | Path,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    episodes: int = 100,
    table: Mapping[str, EpisodeConfig] | None = None,
    extra: Mapping[str, Features] | None = None,
    baselines: bool = True,
    hdbscan: bool = True,
    seed: int = 1,
) -> list[dict[str, Any]]:
    """Run the table's episodes.

    Parameters
    ----------
    encoder : Encoder
    folder : str or Path
        Template libraries. Rows whose library is missing are skipped.
    only, exclude : iterable of str
        Cell models to evaluate on, or to leave out. Evaluate on models that the encoder was not trained on.
    episodes : int
        Episodes a row.
    table : mapping, optional
        Rows; :data:`episodes.TABLE` by default.
    extra : mapping of str to callable, optional
        More feature sets to compare, episode to (n, m).
    baselines, hdbscan : bool
        Score PCA and per-channel SVD as well; cluster without the true number of units as well.
    seed : int

    Returns
    -------
    list of dict
        One entry a row and feature set: means over the episodes and the standard error of the ARI.
    """
    methods: dict[str, Features] = {
        **_encoder_methods(encoder),
        **(extra or {}),
    }
    if baselines:
        methods |= {
            "PCA": raw_features,
            "per-channel SVD": svd_features,
            "per-channel SVD, common channels": common_svd_features,
        }
    only, exclude = None if only is None else tuple(only), tuple(exclude)
    rows: list[dict[str, Any]] = []
    for name, config in (table or TABLE).items():
        path = Path(folder) / f"{config.library}.npz"
        if not path.is_file():
            logger.warning("no library %s, row %r is skipped", path, name)
            continue
        bank = TemplateBank.from_library(path, encoder.config, exclude=exclude, only=only)
        results = _run_row(bank, config, encoder.config, methods, episodes, hdbscan, seed)
        for method, scores in results.items():
            rows.append({"episodes": name, "method": method, "count": episodes, **_summary(scores)})
            logger.info("%s, %s: %s", name, method, rows[-1])
    return rows


def _run_row(
    bank: TemplateBank,
    config: EpisodeConfig,
    network: EncoderConfig,
    methods: Mapping[str, Features],
    episodes: int,
    hdbscan: bool,
    seed: int,
) -> dict[str, list[Scores]]:
    """Each method's scores on the same episodes of one row."""
    results: dict[str, list[Scores]] = {method: [] for method in methods}
    for episode in draw_episodes(bank, config, network, episodes, seed):
        for method, features in methods.items():
            results[method].append(score(features(episode), episode.labels, hdbscan=hdbscan))
    return results


def _summary(scores: list[Scores]) -> dict[str, float]:
    columns = {key: np.array([asdict(item)[key] for item in scores]) for key in asdict(scores[0])}
    summary = {key: float(values.mean()) for key, values in columns.items()}
    best = columns["ari"] if summary["ari"] >= summary["ari_principal"] else columns["ari_principal"]
    summary["ari_standard_error"] = float(best.std() / np.sqrt(max(1, len(best))))
    return summary


def evaluate_denoiser(
    encoder: Encoder,
    folder: str | Path,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    snr: float = 5.0,
    episodes: int = 20,
    seed: int = 2,
) -> dict[str, float]:
    """Error of the denoised waveforms in parts of the noisy ones', at one SNR on the two-column probe."""
    config = EpisodeConfig(snr=(snr, snr))
    only = None if only is None else tuple(only)
    bank = TemplateBank.from_library(
        Path(folder) / f"{config.library}.npz", encoder.config, exclude=tuple(exclude), only=only
    )
    drawn = draw_episodes(bank, config, encoder.config, episodes, seed)
    errors = np.array([denoising_error(encoder, episode) for episode in drawn]).mean(axis=0)
    return {"snr": snr, "denoised": float(errors[0]), "noisy": float(errors[1]), "ratio": float(errors[0] / errors[1])}


def report(rows: list[dict[str, Any]], denoiser: Mapping[str, float] | None = None, title: str = "") -> str:
    """The rows as a Markdown table."""
    lines = [f"# {title}", ""] if title else []
    lines += [
        "| episodes | features | ARI | ARI, 10 components | HDBSCAN | purity | standard error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = [row[key] for key in ("ari", "ari_principal", "ari_hdbscan", "purity", "ari_standard_error")]
        lines.append(f"| {row['episodes']} | {row['method']} | " + " | ".join(f"{v:.3f}" for v in numbers) + " |")
    if denoiser is not None:
        lines += [
            "",
            f"Denoiser at SNR {denoiser['snr']:g}: mean squared error {denoiser['denoised']:.3f} against "
            f"{denoiser['noisy']:.3f} of the noisy waveforms, ratio {denoiser['ratio']:.3f}.",
        ]
    return "\n".join(lines) + "\n"


def write_report(
    path: str | Path,
    rows: list[dict[str, Any]],
    denoiser: Mapping[str, float] | None = None,
    facts: Mapping[str, Any] | None = None,
    title: str = "Evaluation of the encoder",
) -> None:
    """Write ``path`` as Markdown and the same numbers as JSON next to it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report(rows, denoiser, title))
    content = {"rows": rows, "denoiser": denoiser, **(facts or {})}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1, default=str) + "\n")
