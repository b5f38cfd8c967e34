"""Makes SpikeInterface know the sorter "huidurep" in every process, without an import of spikeinterface_huidurep.

SpikeInterface has no entry point for sorters of other packages. So this module lies in site-packages beside a ``.pth``
file, which Python reads when it starts: the line in it calls `install`, which costs one small import. Nothing else
happens until a program imports ``spikeinterface.sorters``; right after that import the sorter is registered.
An interpreter that never imports SpikeInterface never imports spikeinterface_huidurep either.
"""

import sys

TRIGGER = "spikeinterface.sorters"


class _RegisteringFinder:
    """Finder on ``sys.meta_path`` that has only one module to say something about: the trigger."""

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

    It hands its place back before the module is executed, so the imported module shows its own loader,
    and for whoever holds the spec without importing it (runpy, inspect), it answers as the module's own loader does.
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
        # SpikeInterface has to go on working where this package is broken or half removed.
        import warnings

        warnings.warn(
            f"The sorter 'huidurep' could not be registered in SpikeInterface: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=2,
        )


def install():
    """Put the finder in place. Does nothing where it is in place, or where SpikeInterface's sorters are imported."""
    if TRIGGER in sys.modules or any(isinstance(finder, _RegisteringFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _RegisteringFinder())
