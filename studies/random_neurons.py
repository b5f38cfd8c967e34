"""How the project's own random neurons differ from simulated cell models and from SpikeInterface's generated neurons.

    python studies/random_neurons.py LIBRARIES --figure random_neurons.png

All on the two-column probe of the library ``neuropixels2-64``, after the sorter's band-pass, of neurons that lie at
least 100 um from its ends. Half width is that of the trough; trough to peak the time to the highest sample after it;
the peaks before and after the trough are in parts of the trough. The reach is the root mean square distance of the
channels from the neuron, weighted by their squared peak-to-peak amplitudes; the delay the slope of the trough's time
along the probe over the channels with a quarter of the amplitude. Of the random neurons, the forms' lines say how the
neuron's own change moves each measure: the ratio of its largest to its smallest value.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from spikeinterface_huidurep.encoder.augmentation import MARGIN
from spikeinterface_huidurep.encoder.data import TemplateBank
from spikeinterface_huidurep.encoder.generated import generated_bank
from spikeinterface_huidurep.encoder.network import EncoderConfig
from spikeinterface_huidurep.encoder.random_bank import ChangingBank, random_bank

CONFIG = EncoderConfig()
_FINE = 8  # samples are interpolated, so that widths are not whole samples
_END_UM = 100.0
MEASURES = {
    "half width": "ms",
    "trough to peak": "ms",
    "peak after": "of the trough",
    "peak before": "of the trough",
    "reach": "um",
    "delay": "us in 100 um",
    "trough": "uV",
}


def measures(template: np.ndarray, locations: np.ndarray, trough_uv: float) -> dict[str, float]:
    """Measures of one template (channels, W)."""
    largest = int(template[:, MARGIN:-MARGIN].min(axis=1).argmin())
    wave = _fine(template[largest])
    step = 1e3 / CONFIG.sampling_frequency / _FINE
    trough = int(wave.argmin())
    depth = -float(wave[trough])
    below = wave < -0.5 * depth
    left = trough - int(np.argmin(below[trough::-1]))
    right = trough + int(np.argmin(below[trough:]))
    size = np.ptp(template, axis=1)
    weight = size**2 / (size**2).sum()
    centre = weight @ locations
    near = -template.min(axis=1) >= 0.25 * -template.min()
    times = template[near].argmin(axis=1) / CONFIG.sampling_frequency * 1e6
    depths = locations[near, 1]
    slope = np.polyfit(depths, times, 1)[0] if np.ptp(depths) > 30 else 0.0
    return {
        "half width": (right - left) * step,
        "trough to peak": int(wave[trough:].argmax()) * step,
        "peak after": float(wave[trough:].max()) / depth,
        "peak before": float(wave[:trough].max(initial=0.0)) / depth,
        "reach": float(np.sqrt(weight @ ((locations - centre) ** 2).sum(axis=1))),
        "delay": 100.0 * abs(float(slope)),
        "trough": trough_uv,
    }


def _fine(wave: np.ndarray) -> np.ndarray:
    """Interpolated to ``_FINE`` times as many samples."""
    return np.fft.irfft(np.fft.rfft(wave), n=_FINE * len(wave)) * _FINE


def of_bank(bank: TemplateBank, most: int) -> list[dict[str, float]]:
    """Measures of a bank's neurons inside the shank."""
    depth = bank.location[:, 1]
    inside = (depth > bank.locations[:, 1].min() + _END_UM) & (depth < bank.locations[:, 1].max() - _END_UM)
    chosen = torch.nonzero(inside)[:, 0][:most]
    channels = torch.arange(len(bank.locations))[None]
    middle = torch.full((1,), bank.steps // 2)
    rows = []
    for unit in chosen:
        prints = bank.footprints(unit[None], middle)
        rows.append(measures(prints.gather(channels)[0].numpy(), bank.locations.numpy(), float(bank.peak[unit])))
    return rows


def changes(bank: ChangingBank, most: int) -> dict[str, np.ndarray]:
    """For each measure the ratio of its largest to its smallest value over a neuron's forms."""
    channels = torch.arange(len(bank.locations))[None]
    middle = torch.full((1,), bank.steps // 2)
    ratios: dict[str, list[float]] = {"half width": [], "trough": []}
    for unit in range(min(most, len(bank))):
        rows = []
        for form in range(bank.forms):
            prints = bank.footprints(torch.tensor([unit]), middle, torch.tensor([form]))
            template = prints.gather(channels)[0].numpy()
            rows.append(measures(template, bank.locations.numpy(), -float(template.min())))
        for name, values in ratios.items():
            every = [row[name] for row in rows]
            values.append(max(every) / max(min(every), 1e-9))
    return {name: np.array(values) for name, values in ratios.items()}


def figure(path: Path, banks: dict[str, TemplateBank], rows: dict[str, list[dict[str, float]]]) -> None:
    """Distributions above, waveforms on the largest channel below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(16, 9), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(len(banks), len(MEASURES) + 1, squeeze=False)
    for line, (name, bank) in zip(axes, banks.items(), strict=True):
        for axis, (measure, unit) in zip(line[:-1], MEASURES.items(), strict=True):
            every = np.concatenate([[row[measure] for row in one] for one in rows.values()])
            bins = np.linspace(0, np.percentile(every, 98), 30)
            axis.hist(np.clip([row[measure] for row in rows[name]], 0, bins[-1]), bins, density=True)
            axis.set(xlabel=f"{measure}, {unit}", yticks=[])
        line[0].set_ylabel(name)
        chosen = torch.linspace(0, len(bank) - 1, 40).long()
        prints = bank.footprints(chosen, torch.full_like(chosen, bank.steps // 2))
        largest = prints.trough.argmax(dim=1)[:, None]
        line[-1].plot(prints.gather(largest)[:, 0].T.numpy(), lw=0.5)
        line[-1].set(ylim=(-1.2, 1.2), xticks=[], yticks=[])
    drawing.savefig(path, dpi=80)


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", type=Path)
    parser.add_argument("--units", type=int, default=400)
    parser.add_argument("--more", nargs="*", type=Path, default=[], help="other libraries to compare")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args(arguments)
    cells = TemplateBank.from_library(options.libraries / "neuropixels2-64.npz", CONFIG)
    locations = cells.locations.numpy()
    own = random_bank(locations, CONFIG, seed=7, units=options.units)
    banks = {"cell models": cells, "random neurons": own}
    banks |= {path.stem: TemplateBank.from_library(path, CONFIG) for path in options.more}
    banks["SpikeInterface's"] = generated_bank(locations, CONFIG, seed=7, units=options.units // 2)
    rows = {name: of_bank(bank, options.units) for name, bank in banks.items()}
    print("| measure | " + " | ".join(banks) + " |\n|---|" + "---|" * len(banks))
    for measure, unit in MEASURES.items():
        cells_ = []
        for name in banks:
            low, middle, high = np.percentile([row[measure] for row in rows[name]], [5, 50, 95])
            cells_.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        print(f"| {measure}, {unit} | " + " | ".join(cells_) + " |")
    for name, ratios in changes(own, 100).items():
        low, middle, high = np.percentile(ratios, [5, 50, 95])
        print(f"own change of the {name}: {middle:.2f} ({low:.2f} to {high:.2f})")
    if options.figure is not None:
        figure(options.figure, banks, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
