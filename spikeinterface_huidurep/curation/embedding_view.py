"""A view of SpikeInterface's GUI: the embedding of the visible units' spikes in two dimensions.

The GUI finds it through the entry point "spikeinterface_gui.views". A view class implements each action once for each
backend: ``_qt_*`` for the desktop, ``_panel_*`` for the web. Both draw `EmbeddingView.points`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.path import Path as Polygon
from spikeinterface_gui.view_base import ViewBase

from .extension import EXTENSION_NAME, register_extension
from .projection import METHODS, limits, project

register_extension()

VIEW_NAME = "huidurep_embedding"
# readable on the GUI's dark background, also for colour-blind people
CONFIDENCE_COLORS = colormaps["plasma"]
NO_EMBEDDINGS = "This analyzer has no HuiduRep embeddings yet: press 'compute'."


class Points(NamedTuple):
    """What the view draws: one row for each spike."""

    spike_index: np.ndarray
    xy: np.ndarray
    color: np.ndarray
    axes: list[str]


class EmbeddingView(ViewBase):
    """Embeddings of the visible units' random spikes, from which spikes can be selected."""

    id = VIEW_NAME
    _supported_backend = ["qt", "panel"]
    _need_compute = True
    _depend_on = ["random_spikes"]
    _settings = [
        {"name": "projection", "type": "list", "limits": list(METHODS), "value": METHODS[0]},
        {"name": "color_by", "type": "list", "limits": ["unit", "confidence"], "value": "unit"},
        {"name": "scatter_size", "type": "float", "value": 4.0, "step": 0.5},
        {"name": "alpha", "type": "float", "value": 0.7, "limits": (0, 1.0), "step": 0.05},
    ]
    _gui_help_txt = """
## HuiduRep embedding

Each point is a spike of a visible unit, at the position of its HuiduRep embedding: spikes of one neuron form a cloud.
Two units in one cloud may be one neuron; a unit in two clouds may be two. Only the random spikes of the analyzer have
an embedding.

### Controls
- **lasso**: drag around points to select their spikes in all views (desktop: with shift to add to the selection;
  web: press **select** first)
- **mouse wheel**: zoom
- **compute**: embeds the spikes of an analyzer that has no embeddings

### Settings
- **projection**: *PCA* shows the directions in which the visible spikes vary most, *LDA* those that separate the
  visible units best (two units always look separate there: use PCA to decide on a merge)
- **color_by**: the units' colours, or the *confidence*: the fraction of a spike's nearest neighbours that belong to its
  own unit, from dark (0) to bright (1)
"""

    # what both backends need

    def embeddings(self) -> Any:
        """The analyzer's extension, or None; read each time, since applying a curation replaces it."""
        analyzer = self.controller.analyzer
        return analyzer.get_extension(EXTENSION_NAME) if analyzer.has_extension(EXTENSION_NAME) else None

    def points(self) -> Points | None:
        """The visible units' spikes; None where there are no embeddings."""
        extension = self.embeddings()
        if extension is None:
            return None
        units = extension.get_data(outputs="unit_index")
        shown = np.flatnonzero(np.isin(units, self.controller.get_visible_unit_indices()))
        xy, axes = project(extension.get_data()[shown], units[shown], self.settings["projection"])
        if self.settings["color_by"] == "confidence":
            confidence = np.nan_to_num(extension.get_data(outputs="confidence")[shown])
            color = np.round(255 * CONFIDENCE_COLORS(confidence)).astype("uint8")
        else:
            color = self.controller.get_spike_colors(units[shown])
        color[:, 3] = round(255 * self.settings["alpha"])
        spike_index = np.asarray(self.controller.random_spikes_indices)[shown]
        return Points(spike_index, xy, color, axes)

    def select_inside(self, vertices: Any, extend: bool = False) -> None:
        """Select the drawn spikes inside a polygon, (n_vertices, 2), in all views."""
        points = self.points()
        if points is None or len(vertices) < 3:
            return
        inside = Polygon(np.asarray(vertices, dtype="float64")).contains_points(points.xy)
        selected = points.spike_index[inside]
        if extend:
            selected = np.union1d(self.controller.get_indices_spike_selected(), selected)
        self.controller.set_indices_spike_selected(selected.astype("int64"))
        self.notify_spike_selection_changed()

    def _compute(self) -> None:
        analyzer = self.controller.analyzer
        if self.embeddings() is None and not self.controller.has_extension("recording"):
            self.warning("Embeddings are computed from the traces, but the analyzer has no recording.")
        elif self.embeddings() is None:
            analyzer.compute(EXTENSION_NAME, save=self.controller.save_on_compute)

    # desktop

    def _qt_make_layout(self) -> None:
        import pyqtgraph as pg
        from spikeinterface_gui.myqt import QT
        from spikeinterface_gui.utils_qt import ViewBoxHandlingLassoAndGain

        self.layout = QT.QVBoxLayout()
        self.lasso = pg.PlotCurveItem(pen="#7FFF00")
        self.graphicsview = pg.GraphicsView()
        self.layout.addWidget(self.graphicsview)
        self.viewbox = ViewBoxHandlingLassoAndGain()
        self.viewbox.gain_zoom.connect(self._qt_zoom)
        self.viewbox.lasso_drawing.connect(lambda vertices: self.lasso.setData(*np.array(vertices).T))
        self.viewbox.lasso_finished.connect(self._qt_lasso_finished)
        self.plot = pg.PlotItem(viewBox=self.viewbox)
        self.plot.hideButtons()
        self.graphicsview.setCentralItem(self.plot)
        self.scatter = pg.ScatterPlotItem(pen=None, pxMode=True)
        self.plot.addItem(self.scatter)
        self.scatter_selected = pg.ScatterPlotItem(pen=pg.mkPen("w", width=1.5), brush=None, pxMode=True)
        self.scatter_selected.setZValue(1000)
        self.plot.addItem(self.scatter_selected)
        self.plot.addItem(self.lasso)
        self._drawn: Points | None = None

    def _qt_refresh(self) -> None:
        import pyqtgraph as pg

        self._drawn = points = self.points()
        if points is None:
            self.scatter.clear()
            self.scatter_selected.clear()
            self.plot.setTitle(NO_EMBEDDINGS)
            return
        brushes = {color: pg.mkBrush(*color) for color in {tuple(row) for row in points.color.tolist()}}
        self.scatter.setData(
            x=points.xy[:, 0],
            y=points.xy[:, 1],
            brush=[brushes[tuple(row)] for row in points.color.tolist()],
            size=self.settings["scatter_size"],
        )
        by_confidence = self.settings["color_by"] == "confidence"
        self.plot.setTitle("confidence: dark 0, bright 1" if by_confidence else None)
        for side, label in zip(("bottom", "left"), points.axes, strict=True):
            self.plot.setLabel(side, label)
        x_range, y_range = limits(points.xy)
        self.plot.setRange(xRange=x_range, yRange=y_range, padding=0)
        self._qt_draw_selected()

    def _qt_draw_selected(self) -> None:
        if self._drawn is None:
            return
        xy = self._drawn.xy[np.isin(self._drawn.spike_index, self.controller.get_indices_spike_selected())]
        self.scatter_selected.setData(x=xy[:, 0], y=xy[:, 1], size=self.settings["scatter_size"] + 4)

    def _qt_on_spike_selection_changed(self) -> None:
        self._qt_draw_selected()

    def _qt_zoom(self, factor: float) -> None:
        self.viewbox.scaleBy((1 / factor, 1 / factor))

    def _qt_lasso_finished(self, vertices: Any, shift_held: bool = False) -> None:
        self.lasso.setData([], [])
        self.select_inside(vertices, extend=shift_held)
        self._qt_draw_selected()

    # web

    def _panel_make_layout(self) -> None:
        import bokeh.plotting as bpl
        import panel as pn
        from bokeh.models import ColumnDataSource, LassoSelectTool, Range1d
        from spikeinterface_gui.utils_panel import _bg_color

        self.lasso_tool = LassoSelectTool(continuous=False)
        self.figure = bpl.figure(
            sizing_mode="stretch_both",
            tools="reset,wheel_zoom",
            active_scroll="wheel_zoom",
            background_fill_color=_bg_color,
            border_fill_color=_bg_color,
            outline_line_color="white",
            x_range=Range1d(-1, 1),
            y_range=Range1d(-1, 1),
            styles={"flex": "1"},
        )
        self.figure.toolbar.logo = None
        self.figure.grid.visible = False
        for axis in (self.figure.xaxis, self.figure.yaxis):
            axis.axis_label_text_color = axis.major_label_text_color = "#dddddd"
            axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = "#888888"
        self.figure.add_tools(self.lasso_tool)
        self.figure.toolbar.active_drag = None
        self.source = ColumnDataSource({"x": [], "y": [], "color": [], "alpha": [], "spike_index": []})
        self.glyph = self.figure.scatter(
            "x",
            "y",
            source=self.source,
            size=self.settings["scatter_size"],
            fill_color="color",
            fill_alpha="alpha",
            line_color=None,
            selection_line_color="white",
            nonselection_fill_alpha=0.15,
        )
        self.figure.on_event("selectiongeometry", self._panel_lasso_finished)
        self.select_button = pn.widgets.Toggle(name="select", width=100)
        self.select_button.param.watch(self._panel_on_select_button, "value")
        self.message = pn.pane.Markdown("", styles={"color": "white"})
        self.layout = pn.Column(
            pn.Row(self.select_button, self.message, sizing_mode="stretch_width"),
            self.figure,
            styles={"display": "flex", "flex-direction": "column"},
            sizing_mode="stretch_both",
        )

    def _panel_refresh(self) -> None:
        points = self.points()
        if points is None:
            self.message.object = NO_EMBEDDINGS
            self.source.data = {name: [] for name in self.source.data}
            return
        by_confidence = self.settings["color_by"] == "confidence"
        self.message.object = "confidence: dark 0, bright 1" if by_confidence else ""
        self.source.data = {
            "x": points.xy[:, 0],
            "y": points.xy[:, 1],
            "color": ["#{:02x}{:02x}{:02x}".format(*row) for row in points.color[:, :3].tolist()],
            "alpha": points.color[:, 3] / 255,
            "spike_index": points.spike_index,
        }
        self.glyph.glyph.size = self.settings["scatter_size"]
        self.figure.xaxis.axis_label, self.figure.yaxis.axis_label = points.axes
        (self.figure.x_range.start, self.figure.x_range.end), y_range = limits(points.xy)
        self.figure.y_range.start, self.figure.y_range.end = y_range
        self._panel_draw_selected()

    def _panel_draw_selected(self) -> None:
        selected = np.isin(self.source.data["spike_index"], self.controller.get_indices_spike_selected())
        self.source.selected.indices = np.flatnonzero(selected).tolist()

    def _panel_on_spike_selection_changed(self) -> None:
        import panel as pn

        pn.state.execute(self._panel_draw_selected, schedule=True)

    def _panel_on_select_button(self, event: Any) -> None:
        import panel as pn

        def switch() -> None:
            self.figure.toolbar.active_drag = self.lasso_tool if self.select_button.value else None

        pn.state.execute(switch, schedule=True)

    def _panel_lasso_finished(self, event: Any) -> None:
        import panel as pn

        if event.final and event.geometry.get("type") == "poly":
            self.select_inside(np.column_stack([event.geometry["x"], event.geometry["y"]]))
            pn.state.execute(self._panel_draw_selected, schedule=True)
