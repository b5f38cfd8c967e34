"""Settings of earlier versions that have one value now: files that name them with it are still read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENCODER: dict[str, Any] = {
    "projector": "mlp",
    "architecture": "channels",
    "location_head": True,
    "location_mean": True,
    "footprints": True,
    "aligned": True,
}
VIEWS: dict[str, Any] = {"locate": True}


def without_retired(values: Mapping[str, Any], retired: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without retired ones; a ValueError where one of these has another value than it has now."""
    for name, now in retired.items():
        if name in values and (type(values[name]) is not type(now) or values[name] != now):
            raise ValueError(f"the setting {name} can only be {now!r} now, not {values[name]!r}")
    return {name: value for name, value in values.items() if name not in retired}
