"""Makes the pictures of README.md and of the site: the GUI, the report of a sort, and the page of a benchmark.

    huidurep demo && huidurep report huidurep_demo
    huidurep benchmark --suite quick --output quick
    python docs/screenshots.py --sorted huidurep_demo --benchmark quick

It needs the extra "gui", Pillow, and playwright with a Chromium (`pip install playwright`, `playwright install
chromium`, or the system's own). Either picture source may be left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
LARGEST_FILE = 150_000  # bytes
# In a process of its own, which is left at once: PySide6 may bring the interpreter down when it cleans up. The event
# loop runs before the picture is taken, since the windows' tabs find their places in it.
GUI = """
import os, sys
from spikeinterface_gui.myqt import QT, mkQApp
from spikeinterface_huidurep.curation import load_analyzer, open_gui

folder, path = sys.argv[1:]
application = mkQApp()
analyzer = load_analyzer(folder)
spikes = analyzer.sorting.count_num_spikes_per_unit(outputs="dict")
window = open_gui(analyzer, start=False)
window.resize(1600, 900)

def show_units():
    window.controller.set_visible_unit_ids([unit for unit in spikes if spikes[unit] > 100][:5])
    window.controller.set_time(5.0, 0)
    window.views["unitlist"].notify_unit_visibility_changed()
    window.views["unitlist"].notify_time_info_updated()
    window.views["unitlist"].refresh()

QT.QTimer.singleShot(1000, show_units)
QT.QTimer.singleShot(5000, lambda: (window.grab().save(path), os._exit(0)))
application.exec()
"""


def shoot_gui(sorted_folder: Path, path: Path) -> None:
    """Draw the desktop GUI on the analyzer of a sort without a screen."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    subprocess.run([sys.executable, "-c", GUI, str(sorted_folder), str(path)], env=environment, check=True)


@contextmanager
def browser_window(page: Path, width: int, height: int, scale: float = 1.0):
    """A page in a headless browser, in a window of that many px; pictures of it are scaled."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next((found for found in map(shutil.which, names) if found), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
        window.goto(page.absolute().as_uri())
        window.wait_for_load_state("networkidle")
        yield window
        browser.close()


def shoot_page(page: Path, path: Path) -> None:
    """Draw what a laptop's window shows of a page."""
    with browser_window(page, 1366, 768) as window:
        window.screenshot(path=path)


def shoot_report(page: Path, path: Path) -> None:
    """Draw two places of a report side by side: its top, and where the units begin."""
    from PIL import Image

    with browser_window(page, 1000, 1150, 0.6) as window:
        window.wait_for_timeout(1500)  # the figures draw themselves
        parts = []
        for place in (None, "units"):
            if place is not None:
                window.evaluate(f"document.getElementById({place!r}).scrollIntoView()")
                window.wait_for_timeout(500)
            window.screenshot(path=path)
            with Image.open(path) as image:
                parts.append(image.convert("RGB"))
    both = Image.new("RGB", (sum(part.width for part in parts), parts[0].height), "white")
    for index, part in enumerate(parts):
        both.paste(part, (index * parts[0].width, 0))
    both.save(path)


def shrink(path: Path) -> None:
    """Write the picture with at most 256 colours, which is enough for windows and plots."""
    from PIL import Image

    with Image.open(path) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {size // 1000} kB")
    if size > LARGEST_FILE:
        raise SystemExit(f"{path} has more than {LARGEST_FILE // 1000} kB.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sorted", type=Path, help="output of huidurep sort --report, or of huidurep report")
    parser.add_argument("--benchmark", type=Path, help="output of huidurep benchmark")
    arguments = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    made = []
    if arguments.sorted:
        shoot_gui(arguments.sorted, IMAGES / "gui.png")
        shoot_report(arguments.sorted / "report" / "report.html", IMAGES / "report.png")
        made += ["gui.png", "report.png"]
    if arguments.benchmark:
        shoot_page(arguments.benchmark / "report.html", IMAGES / "benchmark.png")
        made.append("benchmark.png")
    for name in made:
        shrink(IMAGES / name)


if __name__ == "__main__":
    main()
