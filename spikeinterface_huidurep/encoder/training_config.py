"""Everything that a training run depends on."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .augmentation import ViewConfig
from .network import EncoderConfig
from .retired import ENCODER, VIEWS, without_retired

DEFAULT_LIBRARIES = {
    "neuropixels2-64": 2.0,
    "neuropixels-128": 2.0,
    "neuronexus-32": 1.5,
    "tetrode": 1.5,
    "sqmea-10-15": 2.5,
    "neuropixels2-64_zdrift": 3.0,
    "neuropixels2-64_drift": 2.0,
    "neuropixels-128_zdrift": 2.0,
    "neuronexus-32_zdrift": 1.0,
}


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that a training run depends on.

    Attributes
    ----------
    libraries : dict of str to float
        File stems in the library folder and how often each is drawn.
    generated : float
        How often neurons of SpikeInterface's template generator are drawn (``generated``), on all of the libraries'
        probes together; 0 for none.
    generated_units : int
        How many of them a probe.
    random_neurons : float
        How often the project's own random neurons (``random_neurons``) are drawn, on all probes together; 0 for none.
    random_units : int
        How many of them a probe; a quarter as many more through filters that are not the default, with ``other_bands``.
    layouts : tuple of str
        Probes, in addition to those of the libraries, around which neurons are generated (``layouts.LAYOUTS``).
    licences : tuple of str
        Terms that the data may be under, as libraries state them (``MIT``, ``BSD-3-Clause``); any if there are none. A
        library under others, or without any, is refused, and so are weights to begin with that were trained on such.
    exclude : tuple of str
        Cell models (or parts of their names) left out, to evaluate on them.
    steps, batch_size, warmup_steps : int
    heads_first : int
        In so many steps at the beginning the encoder stays as it is and only the contrastive heads learn: for training
        that begins with an encoder, whose file does not hold its heads.
    learning_rate, weight_decay, gradient_clip : float
        AdamW; the learning rate falls on a cosine after the warm-up.
    temperature, momentum : float
        InfoNCE's temperature; the momentum encoder's coefficient, rising to 1 on a cosine.
    key_noise : float
        Share of the noise and of the colliding spikes that the momentum branch sees. Below 1 a noisy spike has to find
        a cleaner view of its unit among cleaner views of others, as in template matching; at 1 both are noisy.
    contrastive_weight, denoising_weight, location_weight : float
        Of the losses; 0 switches one off.
    other_bands : bool
        Still libraries also through two filters that are not the sorter's default.
    autocast : bool
        bfloat16 matrix products.
    seed : int
    encoder : EncoderConfig
    views : ViewConfig
    """

    libraries: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_LIBRARIES))
    generated: float = 5.0
    generated_units: int = 300
    random_neurons: float = 0.0
    random_units: int = 300
    layouts: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    steps: int = 8_500
    batch_size: int = 384
    warmup_steps: int = 150
    heads_first: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    gradient_clip: float = 3.0
    temperature: float = 0.06
    momentum: float = 0.99
    key_noise: float = 0.3
    contrastive_weight: float = 1.0
    denoising_weight: float = 0.5
    location_weight: float = 0.3
    other_bands: bool = True
    autocast: bool = False
    seed: int = 0
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    views: ViewConfig = field(default_factory=ViewConfig)

    @property
    def generates(self) -> bool:
        """Whether neurons are generated around layouts, so that no library is needed."""
        return bool(self.layouts) and self.generated + self.random_neurons > 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingConfig:
        """Build from nested dictionaries, as YAML or JSON give them; unknown names are errors, and so are retired ones
        (``retired``) with another value than they have now."""
        values = dict(values)
        parts = {"encoder": EncoderConfig, "views": ViewConfig}
        known = {item.name for item in fields(cls)}
        for name in parts:
            if not isinstance(values.get(name, {}), dict):
                raise ValueError(f"the training setting {name} takes names with values, not {values[name]!r}")
        for name, retired in (("encoder", ENCODER), ("views", VIEWS)):
            if name in values:
                values[name] = without_retired(values[name], retired)
        unknown = set(values) - known
        for name, part in parts.items():
            unknown |= {f"{name}.{key}" for key in set(values.get(name, {})) - {item.name for item in fields(part)}}
        if unknown:
            raise ValueError(f"unknown training settings: {', '.join(sorted(map(str, unknown)))}")
        for name, part in parts.items():
            if name in values:
                inner = {key: tuple(v) if isinstance(v, list) else v for key, v in values[name].items()}
                values[name] = part(**inner)
        for name in ("exclude", "layouts", "licences"):
            if name in values:
                values[name] = tuple(values[name])
        for name, value in values.items():
            _check_setting(name, value, getattr(cls(), name))
        return cls(**values)


def check_licence(name: str, licence: str, config: TrainingConfig) -> None:
    """Raise a ValueError where the configuration names licences and this one is not among them."""
    if config.licences and licence not in config.licences:
        raise ValueError(
            f"The licence of {name} is {licence}, and the settings allow {', '.join(config.licences)} only: leave it "
            "out, or change the setting licences."
        )


def _check_setting(name, value, default):
    """Raise a ValueError where a value is of another kind than the setting's default."""
    if isinstance(default, dict):
        kind, sound = "names with numbers", isinstance(value, dict) and all(
            isinstance(key, str) and Path(key).name == key and isinstance(number, (int, float))
            for key, number in value.items()
        )  # fmt: skip
    elif isinstance(default, bool):
        kind, sound = "true or false", isinstance(value, bool)
    elif isinstance(default, (int, float)):
        kinds = (int, float) if isinstance(default, float) else int
        kind, sound = "a number", isinstance(value, kinds) and not isinstance(value, bool)
    else:
        return
    if not sound:
        raise ValueError(f"the training setting {name} takes {kind}, not {value!r}")
