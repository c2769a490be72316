"""Programs: kernels compiled for the shapes of their arrays, and kept from one start to the next.

A start with nothing kept compiles SO3LR's gradient for 6 s and its Hessian for 17 s. jax keeps what
it compiled on disk (its persistent cache), but looks it up by the program's text, and to write
that text down (to trace it) takes 2 and 3 s. So the text is kept too, by jax.export: it is found
by the kernel, the function, the shapes, and the versions of this package and of jax.
"""

import contextlib
import gc
import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
from jax import export

AGE = 60 * 86400  # seconds after which a program that nobody asked for is removed
SUFFIX = ".program"
ROOM, MORE = 0.5, 0.1  # of the memory maps that the system allows a process

_folder: Path | None = None
_held = 0  # memory maps that were still there when programs were dropped last
_loaded: dict[tuple[Any, ...], Callable[..., Any]] = {}


def remember(folder: Path) -> None:
    """Keeps programs in a folder; those of jax only if the user set no place of their own."""
    global _folder
    # a program is made for one processor: machines that share a home must not share programs
    processor = platform.processor() + platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    folder = folder / hashlib.sha256(processor.encode()).hexdigest()[:12]
    _folder = folder
    if jax.config.values.get("jax_compilation_cache_dir") is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def forget() -> None:
    """Drops what this process holds, and looks nothing up on disk until told to `remember`."""
    global _folder
    _folder = None
    _loaded.clear()
    jax.clear_caches()


def load(
    kernel: Callable[..., Any],
    static: tuple[Any, ...],
    arguments: tuple[Any, ...],
    platform_name: str,
) -> Callable[..., Any]:
    """The program of a kernel for arrays of some shapes.

    Args:
        kernel: function of the static arguments and the others; known by its name and module.
        static: hashable; those that have a `key` (a string that says all that matters of them),
            are strings or numbers can be kept on disk.
        arguments: trees of arrays; only their shapes and types matter.
        platform_name: jax's, such as "cpu".

    Returns:
        A function that takes the leaves of `arguments`, in their order, and returns what the
        kernel does. Alike programs are compiled once.
    """
    leaves, tree = jax.tree.flatten(arguments)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    key = (kernel, static, tree, shapes, platform_name)
    if key in _loaded:
        return _loaded[key]
    make_room()

    def on_leaves(*leaves: Any) -> Any:
        return kernel(*static, *jax.tree.unflatten(tree, leaves))

    # named by what it does, in profiles and error messages
    on_leaves.__name__ = kernel.__name__.strip("_")
    program = jax.jit(on_leaves)
    words = [getattr(part, "key", part) for part in static]
    if _folder is not None and all(isinstance(word, str | int | float) for word in words):
        words = [kernel.__module__, kernel.__name__, *words, tree, shapes, platform_name]
        words += [jax.__version__, _sources(), jax.config.values.get("jax_enable_x64")]
        path = _folder / (hashlib.sha256(repr(words).encode()).hexdigest()[:32] + SUFFIX)
        types = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
        program = jax.jit(_kept(path, program, types, platform_name).call)
    _loaded[key] = program
    return program


def make_room() -> None:
    """Drops compiled programs before the system refuses the memory for another.

    A molecule's take more than a thousand memory maps, of which Linux allows a process 65,530 as a
    rule: some fifty molecules. LLVM ends the process when it gets no more.
    """
    global _held
    try:
        maps, allowed = _maps()
    except (OSError, ValueError):
        return  # another system, which has no such limit
    # what could not be given back last time is not tried for again until there is more
    _held = min(_held, maps)
    if maps < max(ROOM * allowed, _held + MORE * allowed):
        return
    # whoever still uses a program holds it
    _loaded.clear()
    jax.clear_caches()
    gc.collect()
    _held, _ = _maps()


def _maps() -> tuple[int, int]:
    """Memory maps of this process, and how many Linux allows."""
    allowed = int(Path("/proc/sys/vm/max_map_count").read_text())
    return Path("/proc/self/maps").read_bytes().count(b"\n"), allowed


def _kept(path: Path, program: Any, types: list[Any], platform_name: str) -> export.Exported:
    """The text of a program from its file, or made and written there."""
    with contextlib.suppress(OSError):
        try:
            found = export.deserialize(bytearray(path.read_bytes()))
            os.utime(path)  # it is still asked for
            return found
        except FileNotFoundError:
            pass
        except Exception:  # whatever a damaged file makes jax raise
            path.unlink(missing_ok=True)
    made = export.export(program, platforms=[platform_name])(*types)
    # no folder to write to, or no room in it: the next start takes longer, and that is all
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=SUFFIX, delete=False) as file:
            file.write(made.serialize())
        os.replace(file.name, path)
        for other in path.parent.glob("*" + SUFFIX):
            if time.time() - other.stat().st_mtime > AGE:
                other.unlink()
    return made


@cache
def _sources() -> str:
    """Changes with any line of this package's arithmetic."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
