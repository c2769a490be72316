"""Pickles read as data: nothing that a file names is imported, called or built.

A pickle is a program: it may name any function and have it called. Here every name that it may
mention is listed by the caller; a listed name becomes an inert stand-in that only records what it
was called with, anything else is refused by name. Arrays are made afterwards from these records,
each checked against the bytes that are there.
"""

import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from topokrates.model.errors import InputError

LARGEST_FILE = 512 * 1024**2  # bytes; SO3LR has 3 MB
MOST_ENTRIES = 10_000  # modules or tensors in one file; SO3LR has 207 tensors
_STORAGES = {
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.BoolStorage": np.dtype("?"),
}


class Record:
    """Stands in for a class or function that a pickle names; keeps what it was given."""

    origin = ""
    args: tuple[Any, ...] = ()
    state: Any = None

    def __new__(cls, *args: Any, **_: Any) -> "Record":
        self = object.__new__(cls)
        self.args = args
        return self

    def __init__(self, *args: Any, **_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, names: dict[str, str]) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._names = names
        self._stand_ins: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        origin = f"{module}.{name}"
        if name not in self._names.get(module, "").split():
            raise InputError(
                f"it asks for {origin!r}, which weights do not need: refused, nothing was executed"
            )
        if origin not in self._stand_ins:  # fresh for each file: a file cannot alter ours
            base = dict if name in ("OrderedDict", "FrozenDict") else Record
            slots = {"__slots__": ()} if base is dict else {}
            self._stand_ins[origin] = type(name, (base,), {"origin": origin, **slots})
        return self._stand_ins[origin]

    def persistent_load(self, pid: Any) -> Any:
        return ("persistent", pid)


def unpickle(data: bytes, names: dict[str, str]) -> Any:
    """The object tree of a pickle, with stand-ins for everything that is not plain data."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name.startswith("EXT"):
                raise InputError("it uses the pickle extension registry: refused")
            # The memo is an array as long as its highest index, however short the file.
            if opcode.name.endswith("PUT") and not 0 <= int(argument or 0) <= len(data):
                raise InputError("its pickle is not one that a program would write: refused")
        return _Unpickler(data, names).load()
    except InputError:
        raise
    except Exception as error:  # whatever a malformed stream provokes, it is not a weights file
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"its pickle is truncated or corrupt ({detail})") from error


def collect(
    named: Iterator[tuple[str, Any]], make: Callable[[Any, str], np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays of all records, within bounds: one storage may be used by any number of them."""
    source: dict[str, np.ndarray] = {}
    total = 0
    for name, record in named:
        source[name] = make(record, name)
        total += source[name].nbytes
        if total > LARGEST_FILE or len(source) > MOST_ENTRIES:
            raise InputError("it holds more than a network has")
    return source


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) <= 8
        and all(type(n) is int and 0 <= n <= LARGEST_FILE for n in value)
    )


def numpy_array(record: Any, name: str) -> np.ndarray:
    """An array from the record of numpy's own pickle of it; floating point only."""
    corrupt = InputError(f"the array {name} is not one that numpy would write")
    if not isinstance(record, Record):
        raise InputError(f"{name} is not a numpy array but a {type(record).__name__}")
    if record.origin.endswith("._reconstruct"):
        state = record.state
        if not isinstance(state, tuple) or len(state) != 5:
            raise corrupt
        _, shape, dtype, fortran, raw = state
        axes = None
    elif record.origin.endswith("._frombuffer") and len(record.args) in (4, 5):
        raw, dtype, shape, layout = record.args[:4]
        fortran = layout == "F"
        axes = record.args[4] if layout == "K" and len(record.args) == 5 else None
    else:
        raise InputError(f"{name} is not a numpy array but a {record.origin}")
    if not isinstance(dtype, Record) or dtype.origin != "numpy.dtype" or not dtype.args:
        raise corrupt
    if dtype.args[0] not in ("f2", "f4", "f8"):
        raise InputError(f"the array {name} has dtype {dtype.args[0]}, not a floating-point one")
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "="
    kind = np.dtype((">" if order == ">" else "<") + dtype.args[0])
    if isinstance(raw, Record) and raw.origin == "_codecs.encode" and len(raw.args) == 2:
        raw = raw.args[0].encode("latin1") if isinstance(raw.args[0], str) else None
    if not isinstance(raw, bytes | bytearray) or not _is_shape(shape):
        raise corrupt
    axes = tuple(range(len(shape))) if axes is None else axes
    permuted = _is_shape(axes) and sorted(axes) == list(range(len(shape)))
    if len(raw) != math.prod(shape) * kind.itemsize or not permuted:
        raise corrupt
    array = np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C")
    return array.transpose(axes).astype(np.float64)


def torch_tensor(record: Any, name: str, read: Callable[[str], bytes]) -> np.ndarray:
    """An array from the record of `_rebuild_tensor_v2(storage, offset, size, stride, ...)`."""
    corrupt = InputError(f"the tensor {name} is not one that torch would write")
    while isinstance(record, Record) and record.origin.endswith("_rebuild_parameter"):
        record = record.args[0] if record.args else None
    if not isinstance(record, Record) or not record.origin.endswith("_rebuild_tensor_v2"):
        raise corrupt
    if len(record.args) < 4:
        raise corrupt
    storage, offset, size, stride = record.args[:4]
    if not (isinstance(storage, tuple) and len(storage) == 2 and storage[0] == "persistent"):
        raise corrupt
    match storage[1]:
        case ("storage", type() as kind, str() as key, _, int()):
            dtype = _STORAGES.get(getattr(kind, "origin", ""))
        case _:
            raise corrupt
    if dtype is None or not (_is_shape(size) and _is_shape(stride) and len(size) == len(stride)):
        raise corrupt
    raw = read(key)
    items = len(raw) // dtype.itemsize
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    outside = type(offset) is not int or offset < 0 or offset + last >= items
    if outside or not 0 < math.prod(size) <= items:
        raise InputError(f"the tensor {name} reaches outside its storage")
    flat = np.frombuffer(raw, dtype, count=items)[offset:]
    strides = tuple(step * dtype.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(flat, size, strides).astype(np.float64)


def zip_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        if archive.getinfo(name).file_size > LARGEST_FILE:
            raise InputError(f"its member {name} is too large to be weights")
        return archive.read(name)
    except InputError:
        raise
    except Exception as error:  # KeyError, BadZipFile, zlib.error, encryption, odd methods
        raise InputError(f"its member {name} is missing or damaged") from error
