"""The constants that decide how recordings are sorted: which there are, what they act on, and how to change one."""

from __future__ import annotations

import ast
import dataclasses
import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import spikeinterface_huidurep
from spikeinterface_huidurep.parameters import DEFAULT_PARAMS

PACKAGE = Path(spikeinterface_huidurep.__file__).resolve().parent
BESIDE_STAGES = ("criteria.py", "sort.py")  # modules of the package with constants of the sort
PARAMETERS = "parameters.py"
SHARE = 0.2  # of a constant, by which it is changed

TRACES, DETECT, EMBED, MOTION = "traces", "detect peaks", "embed spikes", "estimate motion"
CLUSTER, NOISE, MAKE, REFINE, ASSIGN = "cluster", "measure noise", "make units", "refine units", "assign spikes"
CLUSTERED = "cluster templates"
ALL_STAGES = (TRACES, DETECT, EMBED, MOTION, CLUSTER, NOISE, CLUSTERED, MAKE, REFINE, ASSIGN)

# the order of the table, and the stages in which a room's constants have a part; those of grouping/, known/ and result/
# come after all
ROOMS: dict[str, tuple[str, ...]] = {
    "traces": (TRACES, DETECT, EMBED, NOISE, REFINE, ASSIGN),
    "peaks": (DETECT, EMBED, CLUSTER),
    "motion": (MOTION, MAKE, REFINE, ASSIGN),
    "templates": (CLUSTERED, MAKE, REFINE, ASSIGN),
    "units": (MAKE, REFINE),
    "grouping": (),
    "known": (),
    "matching": (REFINE, ASSIGN),
    "result": (),
    "criteria.py": (MAKE, REFINE, ASSIGN),
    "device.py": (),
    "sort.py": (),
    PARAMETERS: (),
}
# where less of the sort, or more, knows a file or a constant than its room
ACTS_IN: dict[str, tuple[str, ...]] = {
    "traces/bandpass.py": (TRACES,),
    "traces/caching.py": (TRACES,),
    "traces/preprocessing.py": (TRACES,),
    "traces/scaling.py": (TRACES, DETECT),
    "traces/gaps.py": (TRACES, DETECT, NOISE),
    "traces/noise.py": (DETECT, NOISE),
    "traces/noise.py: ENOUGH_CHANNELS": (TRACES, DETECT, NOISE),
    "peaks/detection.py": (DETECT,),
    "peaks/matched_filters.py": (DETECT,),
    "peaks/encoding.py": (EMBED,),
    "motion/estimation.py": (MOTION,),
    "motion/alignment.py": (MOTION,),
    "motion/curves.py": (MOTION,),
    "motion/jumps.py": (MOTION, ASSIGN, REFINE),
    "units/loop.py: UnitCriteria.amplitude_std": (MAKE, REFINE, ASSIGN),
    "units/loop.py: UnitCriteria.matching_threshold": (MAKE, REFINE, ASSIGN),
    "units/loop.py: SPLIT_ROUNDS": (MAKE,),
    "units/loop.py: FULL_CHANNELS": (REFINE,),
    "units/loop.py: LONGEST": (REFINE,),
    "units/valley.py": (REFINE,),
    "units/unit_set.py": (REFINE,),
    "units/evidence.py: PARTNERS": (MAKE,),
    "units/evidence.py: EvidenceCriteria.embedding_distance": (MAKE,),
    "units/evidence.py: EvidenceCriteria.embedding_distance_um": (MAKE,),
    "units/evidence.py: EvidenceCriteria.embedding_shared": (MAKE,),
    "units/evidence.py: EvidenceCriteria.n_components": (MAKE,),
    "units/drop.py": (REFINE,),
    "units/drop.py: DropCriteria.min_centred": (MAKE,),
    "units/drop.py: DropCriteria.min_excess": (MAKE,),
    **{
        f"units/loop.py: UnitCriteria.{name}": (REFINE,)
        for name in "rounds sure fit least_fit min_source alone_ms duration_s".split()
    },
    "parameters.py: detect_threshold": (DETECT, MAKE, REFINE),
    "parameters.py: exclude_sweep_ms": (DETECT,),
    "parameters.py: detection_radius_um": (DETECT,),
    "parameters.py: censored_period_ms": (ASSIGN,),
    "parameters.py: min_confidence": (),
    "parameters.py: min_spikes": (),
    "parameters.py: min_firing_rate": (),
}
# constants that nothing asks where the probe stands still: there they are not tried
OF_MOTION = {
    "matching/assignment.py: STILL_S",
    "units/evidence.py: SMOOTH_UM",
    "units/join.py: JoinCriteria.apart_factor",
    "units/join.py: JoinCriteria.max_shared",
    "matching/rules.py: UNEXPLAINED_MOVING",
}
# parameters that are one for a neuron's spikes: they are units of measurement
YARDSTICKS = ("time_scale", "distance_scale")
# fields that sorts take from a parameter: it is changed with them
PARAMETER_OF = {
    "units/loop.py: UnitCriteria.distance": "merge_threshold",
    "units/loop.py: UnitCriteria.amplitude_std": "amplitude_std",
    "units/loop.py: UnitCriteria.matching_threshold": "assignment_threshold",
}
# shares so near to one that it is the rest to one that is changed
SHARE_OF_MOST = {"units/mixtures.py: CROWD", "units/mixtures.py: FAR_SHARE"}
# what decides nothing is not counted among the constants that decide how recordings are sorted
SPEED, MATHEMATICS = "sets speed only", "mathematics"
DECIDE_NOTHING = (SPEED, MATHEMATICS)
# constants that have no row of figures, and why
NOT_SWEPT: dict[str, str] = {
    "parameters.py: max_cache_gb": SPEED,
    "traces/banded.py: BLOCK": SPEED,
    "device.py: MANY_JOBS": SPEED,
    "traces/banded_torch.py: DENSE_CHANNELS": SPEED,
    "traces/caching.py: MOST_OF_FREE": SPEED,
    "traces/recursion_torch.py: SAMPLES_A_BLOCK": SPEED,
    "traces/scaling.py: LONG_ROW": SPEED,
    "peaks/matched_filters.py: BLOCK": SPEED,
    "peaks/matched_filters.py: BATCH": SPEED,
    "matching/assignment.py: UNITS_PER_GROUP": SPEED,
    "matching/assignment.py: BINS": SPEED,
    "matching/assignment.py: BLOCK_VALUES": SPEED,
    "matching/assignment.py: LEAST_BLOCK": SPEED,
    "matching/assignment.py: CHUNK_ON_DEVICE_S": SPEED,
    "matching/neighbours_torch.py: STEPS": "which spikes are taken at once, on a GPU",
    "matching/pursuit_torch.py: BINS_PER_REACH": SPEED,
    "matching/pursuit_torch.py: TOLERANCE": "that of the pursuit on the processor, on a GPU",
    "matching/simultaneous.py: NOTHING": MATHEMATICS,
    "traces/scaling.py: MAD_TO_STD": MATHEMATICS,
    "units/split.py: SplitCriteria.distance": "as UnitCriteria.distance",
    "units/split.py: SplitCriteria.min_size": "as UnitCriteria.min_size and UnitCriteria.min_source",
    "units/split.py: SplitCriteria.amplitude_std": "as UnitCriteria.amplitude_std",
    "units/split.py: SplitCriteria.max_shared": "negative for 'never'; 0.1 for matched spikes",
    "units/join.py: JoinCriteria.distance": "as UnitCriteria.distance, times UnitCriteria.again or .at_once",
    "units/join.py: JoinCriteria.furthest": "as UnitCriteria.distance times UnitCriteria.asked",
    "units/drop.py: DropCriteria.detect_threshold": "as detect_threshold",
    "units/drop.py: DropCriteria.explained_distance": "as UnitCriteria.again times UnitCriteria.distance",
    "units/evidence.py: EvidenceCriteria.amplitude_std": "as UnitCriteria.amplitude_std",
    "units/loop.py: UnitCriteria.min_size": "a share of the number of peaks, see least_cluster_size",
    "units/loop.py: UnitCriteria.detect_threshold": "as detect_threshold",
}


@dataclass(frozen=True)
class Constant:
    """A number, or a tuple of numbers, that decides how recordings are sorted."""

    file: str  # in stages/, or one of BESIDE_STAGES, or PARAMETERS
    name: str  # of the module's constant, or Class.field, or of the parameter
    value: Any

    @property
    def key(self) -> str:
        return f"{self.file}: {self.name}"

    @property
    def room(self) -> str:
        return self.file.split("/", maxsplit=1)[0]

    @property
    def decides(self) -> bool:
        """Whether it decides how recordings are sorted."""
        return NOT_SWEPT.get(self.key) not in DECIDE_NOTHING

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that know it."""
        return ACTS_IN.get(self.key, ACTS_IN.get(self.file, ROOMS.get(self.room, ALL_STAGES)))

    def changed(self, direction: str) -> Any:
        """The value 20 % down or up; whole numbers by one at least."""
        sign = {"down": -1, "up": 1}[direction]
        if self.key in SHARE_OF_MOST:
            return float(np.round(1 - _changed(1 - self.value, -sign), 12))
        if isinstance(self.value, tuple):
            return tuple(_changed(one, sign) for one in self.value)
        return _changed(self.value, sign)


def _changed(value: Any, sign: int) -> Any:
    if isinstance(value, Integral):
        return int(value) + sign * max(1, round(SHARE * abs(int(value))))
    return float(np.round(float(value) * (1 + sign * SHARE), 12))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) > 0 and all(map(_is_number, value))
    return _is_number(value)


def module_files() -> list[Path]:
    """The modules whose constants decide how recordings are sorted."""
    return [*sorted((PACKAGE / "stages").rglob("*.py")), *(PACKAGE / name for name in BESIDE_STAGES)]


def path_of(constant: Constant) -> Path:
    return PACKAGE / ("" if constant.file in BESIDE_STAGES else "stages") / constant.file


def _file_of(path: Path) -> str:
    """As constants name it."""
    return path.relative_to(PACKAGE / "stages" if "stages" in path.parts else PACKAGE).as_posix()


def _module_of(path: Path) -> ModuleType:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf8"))


def find_constants() -> list[Constant]:
    """
    All constants, by room and file, in the order in which they are written.

    What follows from another constant is none of its own, nor is a zero, which stands for "nothing" or "never".
    """
    found = []
    for path in module_files():
        module = _module_of(path)
        file = _file_of(path)
        for name, expression in _module_names(_tree(path)).items():
            value = getattr(module, name)
            if _is_constant(value) and not _follows(expression):
                found.append(Constant(file, name, value))
        for cls_name, name, expression in _criteria_fields(_tree(path)):
            (value,) = (one.default for one in fields(getattr(module, cls_name)) if one.name == name)
            if _is_constant(value) and value != 0 and not _follows(expression):
                found.append(Constant(file, f"{cls_name}.{name}", value))
    found += [
        Constant(PARAMETERS, name, value)
        for name, value in DEFAULT_PARAMS.items()
        if _is_number(value) and value != 0 and name not in (*YARDSTICKS, *PARAMETER_OF.values())
    ]
    rooms = list(ROOMS)
    return sorted(found, key=lambda one: (rooms.index(one.room) if one.room in rooms else len(rooms), one.file))


def _module_names(tree: ast.Module) -> dict[str, ast.expr]:
    """Upper-case names that a module assigns to, and what it assigns to each."""
    names: dict[str, ast.expr] = {}
    for node in tree.body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            parts, values = [target], [node.value]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                parts, values = target.elts, node.value.elts
            for part, value in zip(parts, values, strict=True):
                if isinstance(part, ast.Name) and part.id.isupper():
                    names[part.id] = value
    return names


def _criteria_fields(tree: ast.Module) -> list[tuple[str, str, ast.expr]]:
    """(class, field, default) of a module's criteria."""
    return [
        (node.name, one.target.id, one.value)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Criteria")
        for one in node.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.value is not None
    ]


def _read(expression: ast.AST) -> set[str]:
    """Names that an expression reads."""
    return {one.id for one in ast.walk(expression) if isinstance(one, ast.Name)}


def _follows(expression: ast.expr) -> bool:
    """Whether a value follows from other constants: it reads one, and has no number of its own but ones."""
    numbers = [one.value for one in ast.walk(expression) if isinstance(one, ast.Constant) and _is_number(one.value)]
    return any(name.isupper() for name in _read(expression)) and all(number == 1 for number in numbers)


@cache
def _imports() -> dict[tuple[str, str], list[tuple[Path, str]]]:
    """By (module, name): the files of the package that import it, and the name that they give it."""
    found: dict[tuple[str, str], list[tuple[Path, str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        package = list(path.relative_to(PACKAGE.parent).with_suffix("").parts[:-1])
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                for one in node.names:
                    found.setdefault((module, one.name), []).append((path, one.asname or one.name))
    return found


def _knowing(path: Path, name: str) -> list[tuple[Path, str]]:
    """Files that know a constant, its own first, and by which name."""
    return [(path, name), *_imports().get((_module_of(path).__name__, name), [])]


def compiled_constants() -> set[str]:
    """Keys of constants that functions compiled with numba read: they are part of what is compiled, and stay."""
    read = {path: _read_by_compiled(_tree(path)) for path in module_files()}
    return {
        f"{_file_of(path)}: {name}"
        for path in module_files()
        for name in _module_names(_tree(path))
        if any(known in read.get(where, ()) for where, known in _knowing(path, name))
    }


def _read_by_compiled(tree: ast.Module) -> set[str]:
    """Names that the functions of a module read that are compiled with numba."""
    compiled = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("njit" in ast.unparse(one) for one in node.decorator_list)
    ]
    return {name for node in compiled for name in _read(node)}


@contextmanager
def patched(constant: Constant, value: Any) -> Iterator[dict[str, Any]]:
    """
    Give a constant another value, everywhere but in what numba has compiled with it, and all that follows from it.

    Yields the parameters of a sort that have to be changed, too.
    """
    if constant.file == PARAMETERS:
        yield {constant.name: value}
        return
    with ExitStack() as stack:
        changes: dict[str, Any] = {}
        path = path_of(constant)
        if "." in constant.name:
            cls_name, name = constant.name.split(".")
            _patch_field(stack, getattr(_module_of(path), cls_name), name, value)
            parameter = PARAMETER_OF.get(constant.key)
            changes = {parameter: value} if parameter else {}
        else:
            _patch_module(stack, path, constant.name, value)
        yield changes


def _set(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until the stack is left."""
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _set_keywords(stack: ExitStack, function: Any, changed: dict[str, Any]) -> None:
    _set(stack, function, "__kwdefaults__", {**function.__kwdefaults__, **changed})


def _patch_field(stack: ExitStack, cls: type, name: str, value: Any) -> None:
    init: Any = vars(cls)["__init__"]
    with_default = [one.name for one in fields(cls) if one.init and _has_default(one)]
    defaults = dict(zip(with_default, init.__defaults__, strict=True))
    defaults[name] = value
    _set(stack, init, "__defaults__", tuple(defaults.values()))
    _set(stack, cls, name, value)


def _has_default(one: dataclasses.Field) -> bool:
    return one.default is not dataclasses.MISSING or one.default_factory is not dataclasses.MISSING


def _patch_module(stack: ExitStack, own: Path, constant: str, value: Any) -> None:
    for path, name in _knowing(own, constant):
        where, tree = _module_of(path), _tree(path)
        _set(stack, where, name, value)
        # what follows from it, and defaults, were worked out when the module was loaded
        for follower, expression in _module_names(tree).items():
            if name in _read(expression):
                _patch_module(stack, path, follower, _worth(expression, vars(where)))
        for cls_name, field, expression in _criteria_fields(tree):
            if name in _read(expression):
                _patch_field(stack, getattr(where, cls_name), field, _worth(expression, vars(where)))
        for node in tree.body:
            for owner, function in _functions(where, node):
                _patch_defaults(stack, owner, function, name, vars(where))


def _worth(expression: ast.expr, known: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(expression), "<constant>", "eval"), known)  # of the package's own source


def _functions(module: ModuleType, node: ast.stmt) -> Iterator[tuple[Any, ast.FunctionDef]]:
    """The functions and methods that a statement of a module defines, with what holds them."""
    if isinstance(node, ast.FunctionDef):
        yield getattr(module, node.name), node
    if isinstance(node, ast.ClassDef):
        for one in node.body:
            if isinstance(one, ast.FunctionDef):
                yield vars(getattr(module, node.name))[one.name], one


def _patch_defaults(stack: ExitStack, function: Any, node: ast.FunctionDef, name: str, known: dict[str, Any]) -> None:
    def new(expression: ast.expr) -> Any:
        return _worth(expression, known)

    def reads(expression: ast.expr | None) -> bool:
        return expression is not None and name in _read(expression)

    keywords = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    only = {argument.arg: new(default) for argument, default in keywords if default is not None and reads(default)}
    if only:
        _set_keywords(stack, function, only)
    if any(map(reads, node.args.defaults)):
        old = zip(node.args.defaults, function.__defaults__, strict=True)
        changed = tuple(new(default) if reads(default) else kept for default, kept in old)
        _set(stack, function, "__defaults__", changed)
