"""What sorting many hours costs: processor time, wall time and disk, from a measured real-time factor.

python studies/cost.py --hours 1000 --channels 384 --core-factor 2.0 --cores 64 --price 0.04
"""

from __future__ import annotations

import argparse
import sys


def cost(
    hours: float, channels: int, core_factor: float, cores: int, price: float = 0.0, sampling_frequency: float = 15000.0
) -> dict[str, float]:
    """
    Reckon the cost of sorting.

    Parameters
    ----------
    hours : float
        Length of all recordings, h.
    channels : int
        Of each recording.
    core_factor : float
        Processor time of a sort over the length of its recording, both on as many channels, as measured by you.
    cores : int
        That sort at the same time, each a recording of its own.
    price : float
        Of one core for one hour, in any currency.
    sampling_frequency : float
        At which the sort keeps the traces, Hz: half of the recording's at 30 kHz.

    Returns
    -------
    dict
        `core_hours`, `wall_hours`, `price`, and `cache_gb_per_hour`, the disk space in GB that an hour of recording
        takes while it is sorted (2 bytes a sample and channel).
    """
    core_hours = hours * core_factor
    return {
        "core_hours": core_hours,
        "wall_hours": core_hours / cores,
        "price": core_hours * price,
        "cache_gb_per_hour": 2 * channels * sampling_frequency * 3600 / 1e9,
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the cost that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--core-factor", type=float, required=True)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--price", type=float, default=0.0)
    for name, value in cost(**vars(parser.parse_args(arguments))).items():
        print(f"{name}: {value:,.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
