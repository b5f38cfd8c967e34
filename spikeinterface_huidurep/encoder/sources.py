"""What a training draws its spikes from: template libraries, and neurons that are generated around probes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import torch

from .data import NoisePool, TemplateBank
from .generated import generated_bank
from .layouts import layout
from .random_bank import random_bank
from .sampler import Source, ViewSampler
from .template_filter import BandPass
from .training_config import TrainingConfig, check_licence

logger = logging.getLogger(__name__)

_OTHER_BANDS = (BandPass(200.0, 7000.0, 3), BandPass(400.0, 5000.0, 2))
# each of these bands gets this share of a source's draws, and one in so many of the random neurons
_OTHER_SHARE = 0.15
_OTHER_UNITS = 8
Noise = dict[BandPass, NoisePool]


def build_sampler(
    config: TrainingConfig, folder: str | Path | None = None, device: str | torch.device = "cpu"
) -> ViewSampler:
    """Read the template libraries, generate neurons and noise, and make the sampler that draws from them.

    Views are made on ``device``. On a GPU this takes an eighth of a training step (H100, 1,536 pairs).

    Parameters
    ----------
    config : TrainingConfig
    folder : str or Path, optional
        Folder of the libraries. Missing ones are skipped with a warning. Not needed if the configuration generates
        neurons around its layouts.
    device : str or torch.device

    Raises
    ------
    FileNotFoundError
        If there is nothing to train on.
    ValueError
        If the configuration does not allow the licence of a library.
    """
    generator = torch.Generator().manual_seed(config.seed)
    default = BandPass()
    noise = {band: NoisePool(band, config.encoder, generator) for band in (default, *_OTHER_BANDS)}
    sources = [] if folder is None else _of_libraries(config, Path(folder), noise)
    if not sources and not config.generates:
        raise FileNotFoundError(f"{folder} holds none of the libraries {', '.join(config.libraries)}")
    probes = {tuple(source.bank.locations.flatten().tolist()): source.bank.locations for source in sources}
    for name in config.layouts:
        locations = torch.from_numpy(layout(name))
        probes[tuple(locations.flatten().tolist())] = locations
    for number, locations in enumerate(probes.values()):
        sources += _generated(config, number, len(probes), locations, noise)
    return ViewSampler(sources, config.encoder, config.views, generator, device)


def _of_libraries(config: TrainingConfig, folder: Path, noise: Noise) -> list[Source]:
    default, sources = BandPass(), []
    for name, weight in config.libraries.items():
        path = folder / f"{name}.npz"
        if not path.is_file():
            logger.warning("no library %s in %s, training without it", name, folder)
            continue
        bank = TemplateBank.from_library(path, config.encoder, default, config.exclude)
        check_licence(str(path), bank.licence, config)
        sources.append(Source(bank, noise[default], weight * (0.7 if config.other_bands and bank.steps == 1 else 1.0)))
        if config.other_bands and bank.steps == 1:
            for band in _OTHER_BANDS:
                other = TemplateBank.from_library(path, config.encoder, band, config.exclude)
                sources.append(Source(other, noise[band], _OTHER_SHARE * weight))
    return sources


def _generated(
    config: TrainingConfig, number: int, probes: int, locations: torch.Tensor, noise: Noise
) -> Iterator[Source]:
    """Sources of the neurons that both generators place around one probe."""
    default, where, seed = BandPass(), locations.numpy(), config.seed + number
    if config.generated > 0:
        bank = generated_bank(where, config.encoder, seed, config.generated_units)
        yield Source(bank, noise[default], config.generated / probes)
    if config.random_neurons <= 0:
        return
    logger.info("drawing neurons around probe %d of %d (%d contacts)", number + 1, probes, len(where))
    weight, others = config.random_neurons / probes, _OTHER_BANDS if config.other_bands else ()
    yield Source(
        random_bank(where, config.encoder, seed, config.random_units),
        noise[default],
        weight * (1 - _OTHER_SHARE * len(others)),
    )
    for more, band in enumerate(others, start=1):
        units = max(1, config.random_units // _OTHER_UNITS)
        bank = random_bank(where, config.encoder, seed + 1000 * more, units, band=band)
        yield Source(bank, noise[band], weight * _OTHER_SHARE)
