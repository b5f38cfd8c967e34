"""What the tests of the GUI share: programs that run in processes of their own, and a stand-in for what is slow.

The GUI's palette (glasbey) compiles for twenty seconds whenever it is imported, which has nothing to do with what is
tested.
"""

import sys
import types

PALETTE = """
import sys, types
import matplotlib
sys.modules["glasbey"] = types.ModuleType("glasbey")
sys.modules["glasbey"].create_palette = lambda number, **_: [
    matplotlib.colors.to_hex(matplotlib.colormaps["tab20"](index % 20)) for index in range(number)
]
"""

COMMAND_LINE = PALETTE + "\nfrom spikeinterface_huidurep.cli import main\nsys.exit(main(sys.argv[1:]))\n"

# argv: folder of the analyzer, two units to merge, where to save the screenshot; prints a JSON object
DESKTOP = (
    PALETTE
    + """
import json, os
import numpy as np
from spikeinterface_gui.myqt import QT, mkQApp
from spikeinterface_huidurep.curation.gui import open_gui

folder, units, screenshot = sys.argv[1], [int(unit) for unit in sys.argv[2:4]], sys.argv[4]
application = mkQApp()
window = open_gui(folder, start=False)
window.resize(1600, 1000)

def settle():
    for _ in range(10):
        application.processEvents()

settle()
controller, view, others = window.controller, window.views["huidurep_embedding"], window.views
controller.set_visible_unit_ids(units)
others["unitlist"].notify_unit_visibility_changed()
settle()
points = view.points()
unit_of = lambda spikes: np.asarray(controller.spikes["unit_index"])[spikes]
drawn = len(view.scatter.data)

# a lasso around everything, as the mouse would draw it, then one around nothing, with shift
(left, bottom), (right, top) = points.xy.min(axis=0) - 1, points.xy.max(axis=0) + 1
view.viewbox.lasso_finished.emit([[left, bottom], [right, bottom], [right, top], [left, top]], False)
settle()
selected = controller.get_indices_spike_selected()
view.viewbox.lasso_finished.emit([[right + 1, top + 1], [right + 2, top + 1], [right + 2, top + 2]], True)
settle()
ringed = len(view.scatter_selected.data)
window.grab().save(screenshot)
view.settings["color_by"] = "confidence"
view.settings["projection"] = "LDA"
settle()
colors = len({point.brush().color().name() for point in view.scatter.points()})
shown_by = [name for name, other in others.items() if other.is_view_visible()]

controller.make_manual_restore_merge(range(len(controller.curation_data["merges"])))
controller.make_manual_merge_if_possible(units)
others["unitlist"].notify_manual_curation_updated()
(save,) = [b for b in others["curation"].qt_widget.findChildren(QT.QPushButton) if b.text() == "Save curation"]
save.click()
settle()
print(json.dumps({
    "drawn": drawn, "axes": points.axes, "units": np.unique(unit_of(points.spike_index)).tolist(),
    "selected": len(selected), "kept": len(controller.get_indices_spike_selected()), "ringed": ringed,
    "colors": colors, "visible": shown_by,
}), flush=True)
os._exit(0)  # PySide6 6.12 brings the interpreter down when it cleans up
"""
)


def stand_in_palette(monkeypatch) -> None:
    """Let this process have the quick palette in place of glasbey's."""
    import matplotlib

    module = types.ModuleType("glasbey")
    module.create_palette = lambda number, **_: [
        matplotlib.colors.to_hex(matplotlib.colormaps["tab20"](index % 20)) for index in range(number)
    ]
    monkeypatch.setitem(sys.modules, "glasbey", module)
