"""``python -m spikeinterface_huidurep`` is the command ``huidurep``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
