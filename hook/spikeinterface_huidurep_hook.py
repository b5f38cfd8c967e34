"""Registers the sorter "huidurep" in SpikeInterface in every process, without an import of spikeinterface_huidurep.

SpikeInterface has no entry point for sorters of other packages. Therefore this module is in site-packages with a
``.pth`` file, which Python reads when it starts. The line in that file calls `install`, which costs one small import.
The sorter is registered right after a program imports ``spikeinterface.sorters``. A process that never imports
SpikeInterface never imports spikeinterface_huidurep either.
"""

import sys

TRIGGER = "spikeinterface.sorters"


class _RegisteringFinder:
    """Finder on ``sys.meta_path`` for one module only: the trigger."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != TRIGGER:
            return None
        for finder in list(sys.meta_path):
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec = find_spec(fullname, path, target) if find_spec is not None else None
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _RegisteringLoader(spec.loader, self)
                return spec
        return None


class _RegisteringLoader:
    """Loader that loads with the module's own loader, then registers the sorter.

    It restores the module's own loader before the module is executed, so that the imported module shows that one. For
    code that uses the spec without importing the module (runpy, inspect), it behaves like the module's own loader.
    """

    def __init__(self, loader, finder):
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self.__dict__["_loader"], name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        _register()


def _register():
    try:
        from spikeinterface_huidurep.registration import register

        register()
    except Exception as error:
        # SpikeInterface must keep working if this package is broken or partly removed.
        import warnings

        warnings.warn(
            f"The sorter 'huidurep' could not be registered in SpikeInterface: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )


def install():
    """Install the finder, unless it is installed already or SpikeInterface's sorters have been imported."""
    if TRIGGER in sys.modules or any(isinstance(finder, _RegisteringFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _RegisteringFinder())
