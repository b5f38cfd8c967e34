"""
The GUI as a page for a browser: without a network, and again after a reload.

spikeinterface-gui 0.14 listens to keyboard shortcuts with a component of React, which panel loads from a server far
away: without it the page stays blank. And it serves one window, whose figures belong to the first visit: after a reload
they are empty. Here shortcuts are plain JavaScript, and each visit gets a window of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# as the component that it stands in for: shortcuts with Ctrl work with the Cmd key of a Mac, too
_SHORTCUTS = """
const name_of = ({key, altKey, ctrlKey, metaKey, shiftKey}) =>
  `${key}.${+!!altKey}.${+!!ctrlKey}.${+!!metaKey}.${+!!shiftKey}`

export function render({ model }) {
  const pressed = (event) => {
    for (const shortcut of model.shortcuts) {
      const names = [name_of(shortcut)]
      if (shortcut.ctrlKey) { names.push(name_of({...shortcut, ctrlKey: false, metaKey: true})) }
      if (names.includes(name_of(event))) {
        event.preventDefault()
        event.stopPropagation()
        model.send_msg(shortcut.name)
        return
      }
    }
  }
  window.addEventListener("keydown", pressed)
  model.on("remove", () => window.removeEventListener("keydown", pressed))
  return document.createElement("span")
}
"""


@cache
def _shortcuts_component() -> type:
    import param
    from panel.custom import JSComponent

    class KeyboardShortcuts(JSComponent):
        """Sends the name of each shortcut that is pressed on the page, see `spikeinterface_gui.utils_panel`."""

        shortcuts = param.List(item_type=dict)
        _esm = _SHORTCUTS

    return KeyboardShortcuts


@contextmanager
def shortcuts_without_network() -> Iterator[None]:
    """Windows that are made within this have keyboard shortcuts that need no React."""
    from spikeinterface_gui import utils_panel

    # its views import the component when they are made
    before = utils_panel.KeyboardShortcuts
    utils_panel.KeyboardShortcuts = _shortcuts_component()
    try:
        yield
    finally:
        utils_panel.KeyboardShortcuts = before


class Visits:
    """
    Gives each visit of the page a window of its own, which goes on with the decisions of the one before.

    Parameters
    ----------
    make : callable
        Makes a PanelMainWindow that starts from a curation, or from the saved one where it gets None.

    Attributes
    ----------
    window : PanelMainWindow
        That of the last visit.
    """

    def __init__(self, make: Callable[[dict[str, Any] | None], Any]):
        self._make = make
        # at once: what is wrong shows before a page is opened, and the first visit need not wait
        self.window = make(None)
        self._visited = False

    def page(self) -> Any:
        """The layout of one visit."""
        if self._visited:
            self.window = self._again(self.window.controller)
        self._visited = True
        return self.window.main_layout

    def _again(self, controller):
        """A window that shows what another one, which is reloaded, has decided."""
        if not controller.curation:
            return self._make(None)
        window = self._make(copy.deepcopy(controller.curation_data))
        window.controller.current_curation_saved = controller.current_curation_saved
        window.views["curation"].refresh()
        return window


def serve(visits: Visits, address: str, port: int, show: bool) -> None:
    """Serve the page until the program is stopped."""
    from spikeinterface_gui.backend_panel import start_server

    start_server({"/": visits.page}, address=address, port=port, show=show)
