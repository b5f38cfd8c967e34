"""The embedding of real tetrode snippets beside PCA's: silhouettes, and a figure to look at.

    python studies/real_snippets.py FOLDER --figure snippets.png

FOLDER holds spike snippets that neo reads: Axona tetrodes (``*.set`` with ``*.1`` to ``*.4``) and Neuralynx tetrodes
(``*.ntt``), in it or in its subfolders. No true units are known, so this says only how well the vectors
fall into groups. Snippets of 1 ms are shorter than the network's window and fall to zero at their ends.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TETRODE_UM = np.array([[0, 0], [0, 20], [20, 0], [20, 20]], dtype=np.float32)
COMPONENTS = range(2, 9)
_LARGEST = (
    15.0  # noise units: the median spike is not let above it, since a snippet's first samples are quieter than noise
)


def read_snippets(folder: Path) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, snippets (n, samples, 4) and sampling frequency in Hz of each tetrode under ``folder``."""
    from neo.rawio import AxonaRawIO, NeuralynxRawIO

    readers = [AxonaRawIO(filename=str(path)) for path in sorted(folder.rglob("*.set"))]
    readers += [NeuralynxRawIO(dirname=str(path)) for path in sorted({file.parent for file in folder.rglob("*.ntt")})]
    for reader in readers:
        reader.parse_header()
        seen = set()
        for index, channel in enumerate(reader.header["spike_channels"]):
            name = str(channel["name"]).split("#")[0].removeprefix("ch")
            raw = None if name in seen else reader.get_spike_raw_waveforms(0, 0, index)
            seen.add(name)  # Neuralynx lists each tetrode once a wire
            if raw is not None and raw.shape[1] == len(TETRODE_UM):
                gain = float(channel["wf_gain"])
                yield name, raw.transpose(0, 2, 1) * np.float32(gain), float(channel["wf_sampling_rate"])


def in_noise_units(snippets: np.ndarray) -> np.ndarray:
    """Baseline removed, spikes pointing down, each channel divided by the deviation of its first samples."""
    centred = (snippets - snippets[:, :3].mean(axis=1, keepdims=True)).astype(np.float32)
    mean = centred.mean(axis=0)
    if mean.max() > -mean.min():
        centred = -centred
    noise = np.median(np.abs(centred[:, :3]), axis=(0, 1)) / 0.6745
    floor = np.median(-centred.min(axis=(1, 2))) / _LARGEST
    return centred / np.maximum(noise, floor)


def padded(snippets: np.ndarray, nbefore: int, before: int, after: int) -> tuple[np.ndarray, int]:
    """Snippets that reach ``before`` and ``after`` samples about the trough, falling to zero; the trough's place."""
    left, right = max(0, before - nbefore), max(0, after - (snippets.shape[1] - nbefore))

    def fall(size: int) -> np.ndarray:
        return (0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 0.5) / max(size, 1)))[None, :, None].astype(np.float32)

    ends = snippets[:, :1] * fall(left)[:, ::-1], snippets[:, -1:] * fall(right)
    return np.concatenate([ends[0], snippets, ends[1]], axis=1), nbefore + left


def group(features: np.ndarray) -> dict[str, float]:
    """Best silhouette of Gaussian mixtures of 2 to 8 groups, and what HDBSCAN finds."""
    from hdbscan import HDBSCAN
    from sklearn.metrics import silhouette_score
    from sklearn.mixture import GaussianMixture

    best = -1.0
    for count in COMPONENTS:
        labels = GaussianMixture(count, n_init=3, reg_covar=1e-2, random_state=0).fit_predict(features)
        if len(np.unique(labels)) > 1:
            best = max(best, float(silhouette_score(features, labels)))
    found = HDBSCAN(min_cluster_size=40, min_samples=10).fit_predict(features)
    inside = found >= 0
    own = float(silhouette_score(features[inside], found[inside])) if found.max() > 0 else float("nan")
    return {"mixture": best, "clusters": int(found.max()) + 1, "noise": float((~inside).mean()), "hdbscan": own}


def main(arguments: list[str] | None = None) -> int:
    """Print one line a tetrode and feature set, and draw the first two components."""
    from matplotlib.figure import Figure

    from spikeinterface_huidurep.encoder import load_encoder
    from spikeinterface_huidurep.encoder.evaluation import principal_components

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--spikes", type=int, default=3000, help="at most so many a tetrode (default: %(default)s)")
    parser.add_argument("--figure", type=Path, required=True)
    options = parser.parse_args(arguments)
    encoder = load_encoder(options.weights)
    rng = np.random.default_rng(0)
    drawn = []
    print("| tetrode | spikes | features | silhouette, mixture | HDBSCAN's clusters | left over | their silhouette |")
    print("|---|---|---|---|---|---|---|")
    for name, snippets, rate in read_snippets(options.folder):
        chosen = rng.permutation(len(snippets))[: options.spikes]
        waveforms = in_noise_units(snippets[chosen])
        nbefore = int(np.median(waveforms.min(axis=2).argmin(axis=1)))
        wide, trough = padded(waveforms, nbefore, *(size + 1 for size in encoder.required_samples(rate)))
        for method, values in (
            ("PCA", waveforms.reshape(len(waveforms), -1)),
            ("encoder", encoder.embed(wide, TETRODE_UM, rate, trough)),
        ):
            reduced = principal_components(values.astype(np.float64))
            reduced /= reduced.std()
            scores = group(reduced)
            drawn.append((f"{name}, {method}", reduced))
            print(
                f"| {name} | {len(chosen)} | {method} | {scores['mixture']:.2f} | {scores['clusters']} | "
                f"{scores['noise']:.2f} | {scores['hdbscan']:.2f} |"
            )
    figure = Figure(figsize=(3 * len(drawn) // 2, 6), layout="constrained")
    axes = figure.subplots(2, len(drawn) // 2, squeeze=False)
    for index, (title, points) in enumerate(drawn):
        axis = axes[index % 2, index // 2]
        axis.scatter(points[:, 0], points[:, 1], s=1, alpha=0.4)
        axis.set(title=title, xticks=[], yticks=[])
    figure.savefig(options.figure, dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
