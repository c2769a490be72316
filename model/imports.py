"""Weights that other programs wrote, read without them and without running what they contain.

Two kinds are read: the zip that `torch.save` makes of an SO3krates or SO3LR module of the package
so3krates-torch, and the authors' `params.pkl` (numpy arrays) with `hyperparameters.json`. Both hold
a pickle, which `pickles` reads as data; the names that it may mention are listed below.

The correspondence of names between the two kinds is stated in so3krates-torch 0.2.1 (MIT),
`tools/jax_torch_conversion.py`. Linear layers are transposed between them, and so are the
projections of each head; the element tables of torch begin with hydrogen, those of flax with Z = 0.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from topokrates.model.errors import InputError
from topokrates.model.parameters import Z_MAX, check_architecture
from topokrates.model.pickles import (
    LARGEST_FILE,
    MOST_ENTRIES,
    Record,
    collect,
    numpy_array,
    torch_tensor,
    unpickle,
    zip_member,
)

BERNSTEIN_GAMMA = float(np.float32(0.9448630629184640))  # 1/Å; a float32 constant of the authors
LAYER_NORM_EPSILON = 1e-6

_TORCH_NAMES = {
    "__builtin__": "set",
    "builtins": "set",
    "collections": "OrderedDict",
    "torch": "FloatStorage DoubleStorage LongStorage IntStorage BoolStorage float32 float64",
    "torch._utils": "_rebuild_parameter _rebuild_tensor_v2",
    "torch.nn.modules.activation": "SiLU",
    "torch.nn.modules.container": "ModuleList Sequential",
    "torch.nn.modules.linear": "Identity Linear",
    "torch.nn.modules.normalization": "LayerNorm",
    "torch.nn.modules.sparse": "Embedding",
    "so3krates_torch.blocks.embedding": "ChargeSpinEmbedding EuclideanEmbedding InvariantEmbedding",
    "so3krates_torch.blocks.euclidean_transformer": (
        "EuclideanAttentionBlock EuclideanTransformer FilterNet InteractionBlock"
    ),
    "so3krates_torch.blocks.output_block": (
        "AtomicEnergyOutputHead DipoleVecOutputHead HirshfeldOutputHead PartialChargesOutputHead"
    ),
    "so3krates_torch.blocks.physical_potentials": (
        "DispersionInteraction ElectrostaticInteraction ZBLRepulsion"
    ),
    "so3krates_torch.blocks.radial_basis": "BernsteinBasis ComputeRBF",
    "so3krates_torch.blocks.so3_conv_invariants": "L0Contraction",
    "so3krates_torch.modules.cutoff": "CosineCutoff PhysNetCutoff",
    "so3krates_torch.modules.models": "SO3LR So3krates",
    "so3krates_torch.modules.spherical_harmonics": "RealSphericalHarmonics",
}
_NUMPY_NAMES = {
    "_codecs": "encode",
    "flax.core.frozen_dict": "FrozenDict",
    "numpy": "dtype ndarray",
    "numpy.core.multiarray": "_reconstruct",
    "numpy._core.multiarray": "_reconstruct",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
}
_CONSTANTS = (".degree_repeats", ".cg_rep", ".segment_ids", ".segment_sum_matrix")


class Import(NamedTuple):
    """What a foreign file holds, in this package's terms (see `weights.shapes`)."""

    architecture: dict[str, Any]
    tensors: dict[str, np.ndarray]  # flat, '/'-joined names; float32, not yet checked for shape


def _module_tensors(top: Any) -> Iterator[tuple[str, Any]]:
    """Walk a torch module: (dotted name, record) of each parameter and buffer that is set."""
    waiting, seen = [("", top)], 0
    while waiting:
        prefix, module = waiting.pop()
        seen += 1
        state = module.state if isinstance(module, Record) else None
        if not isinstance(state, dict) or seen > MOST_ENTRIES:
            raise InputError(f"the module {prefix or 'at its top'} is not one that torch writes")
        if module.origin.endswith(".LayerNorm") and state.get("eps") != LAYER_NORM_EPSILON:
            raise InputError(f"{prefix}eps is {state.get('eps')!r}, not {LAYER_NORM_EPSILON}")
        for group in ("_parameters", "_buffers", "_modules"):
            children = state.get(group, {})
            if not isinstance(children, dict):
                raise InputError(f"{prefix}{group} is not one that torch would write")
            named = [(f"{prefix}{name}", x) for name, x in children.items() if x is not None]
            if group == "_modules":
                waiting += [(f"{name}.", child) for name, child in named]
            else:
                yield from named


def read_torch(data: bytes) -> Import:
    """Weights from the bytes of a file that `torch.save(module)` wrote.

    Raises `InputError` for anything else: truncated, malicious, of another kind of network, or
    with settings that this package does not implement (named).
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:
        raise InputError("it is not a whole torch file (the zip directory is missing)") from error
    if sum(member.file_size for member in archive.infolist()) > LARGEST_FILE:
        raise InputError("it unpacks to more than weights can need")
    roots = [n[: -len("data.pkl")] for n in archive.namelist() if n.endswith("data.pkl")]
    if len(roots) != 1:
        raise InputError("it is a zip, but not one that torch.save wrote")
    root, names = roots[0], set(archive.namelist())
    if f"{root}byteorder" in names and zip_member(archive, f"{root}byteorder") != b"little":
        raise InputError("its numbers are big-endian; save it on a little-endian machine")
    module = unpickle(zip_member(archive, f"{root}data.pkl"), _TORCH_NAMES)
    if not isinstance(module, Record) or not module.origin.endswith((".SO3LR", ".So3krates")):
        raise InputError(
            "it holds no SO3LR or So3krates module (a bare state_dict has no settings)"
        )
    storages: dict[str, bytes] = {}

    def read(key: str) -> bytes:
        if key not in storages:
            storages[key] = zip_member(archive, f"{root}data/{key}")
        return storages[key]

    named = _module_tensors(module)
    source = collect(named, lambda record, name: torch_tensor(record, name, read))
    state = {k: v for k, v in module.state.items() if isinstance(k, str) and not k.startswith("_")}
    renamed = {"r_max": "cutoff", "cutoff_fn_name": "cutoff_fn"}
    renamed |= {f"{k}_name": k for k in ("activation_fn", "energy_activation_fn")}
    settings = {renamed.get(k, k): v for k, v in state.items() if f"{k}_name" not in state}
    gamma = source.get("radial_embedding.radial_basis_fn.gamma", np.float64(BERNSTEIN_GAMMA))
    if gamma.size != 1:
        raise InputError(f"its radial gamma has {gamma.size} values, not 1")
    shift = source.pop("atomic_energy_output_block.energy_shifts", np.zeros(1)).ravel()
    # Filters are registered twice, in the layer and in its attention block; the rest is constants.
    for name in list(source):
        again = name.replace(".euclidean_attention_block.filter_net_", ".filter_net_")
        twin = again != name and np.array_equal(source[name], source.get(again, np.nan))
        if twin or name.startswith("radial_embedding.") or name.endswith(_CONSTANTS):
            del source[name]
    return _convert(settings, source, gamma.item(), shift, torch=True)


def _leaves(tree: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Walk nested dicts: ('/'-joined name, leaf)."""
    waiting, seen = [("", tree)], 0
    while waiting:
        prefix, node = waiting.pop()
        seen += 1
        if seen > MOST_ENTRIES:
            raise InputError("its tree of parameters is too large")
        for key, value in node.items():
            if isinstance(value, dict):
                waiting.append((f"{prefix}{key}/", value))
            else:
                yield f"{prefix}{key}", value


def read_flax(params: bytes, hyperparameters: bytes) -> Import:
    """Weights from the bytes of the authors' `params.pkl` and `hyperparameters.json` (empty: none).

    Raises `InputError` as `read_torch` does.
    """
    tree = unpickle(params, _NUMPY_NAMES)  # first: what it asks for matters more than what it lacks
    if not hyperparameters:
        raise InputError("there is no hyperparameters.json beside it")
    try:
        config = json.loads(hyperparameters)
        settings, data = dict(config["model"]), dict(config["data"])
        shifts = {int(k): float(v) for k, v in (data.get("energy_shifts") or {}).items()}
    except Exception as error:
        raise InputError("hyperparameters.json holds no settings (model and data)") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("params", tree), dict):
        raise InputError("its pickle holds no tree of parameters")
    source = collect(_leaves(tree.get("params", tree)), numpy_array)
    learned = source.pop("observables_0/energy_offset", np.zeros(1)).ravel()
    shift = np.array([shifts.get(z, 0.0) for z in range(1, Z_MAX + 1)])
    if learned.size not in (1, Z_MAX + 1):
        raise InputError(f"observables_0/energy_offset has {learned.size} values, not {Z_MAX + 1}")
    shift = shift + (learned[1:] if learned.size > 1 else learned)
    settings["avg_num_neighbors"] = data.get("avg_num_neighbors")
    return _convert(settings, source, BERNSTEIN_GAMMA, shift, torch=False)


# --- conversion ---------------------------------------------------------------------------------

# Settings with one value that the network here implements.
_FIXED = {
    "activation_fn": "silu",
    "energy_activation_fn": "silu",
    "qk_non_linearity": "identity",
    "residual_mlp_2": False,
    "final_mlp_layers": 2,
    "interaction_bias": True,
    "initialize_ev_to_zeros": True,
    "trainable_rbf": False,
    "use_final_bias_bool": True,
    "force_mode": "constrained",
}
# Settings that say nothing of the finished function: how it was trained, stored, or is evaluated.
_WITHOUT_EFFECT = """
    layers_behave_like_identity_fn_at_init output_is_zero_at_init input_convention cutoff_lr
    force_regression_dim training device dtype seed num_elements avg_num_neighbors_param cutoff_p
    atomic_type_shifts energy_learn_atomic_type_shifts num_embeddings embedding_scale r_max_lr
    neighborlist_format_lr use_lr
"""


def _architecture(settings: dict[str, Any], gamma: float) -> dict[str, Any]:
    left = {k: v for k, v in settings.items() if k not in _WITHOUT_EFFECT.split()}

    def take(key: str, *default: Any) -> Any:
        if key not in left and not default:
            raise InputError(f"its settings lack {key!r}")
        return left.pop(key, *default)

    def choose(key: str, known: dict[str, Any]) -> Any:
        value = take(key)
        if not isinstance(value, str) or value not in known:
            raise InputError(f"its setting {key} is {value!r}; known are {', '.join(known)}")
        return known[value]

    for key, value in _FIXED.items():
        given = take(key, value)
        if given != value or type(given) is not type(value):
            raise InputError(f"its setting {key} is {given!r}; only {value!r} is implemented")
    if left.get("layer_normalization_1") != take("layer_normalization_2"):
        raise InputError("its settings layer_normalization_1 and _2 differ; they must agree")
    neighbours = take("avg_num_neighbors", None)
    basis = choose("radial_basis_fn", {"bernstein": "bernstein", "physnet": "physnet"})
    damping = take("dispersion_energy_cutoff_lr_damping", None)
    width = take("num_features_head", None)
    degrees = take("degrees")
    found = {
        "features": take("num_features"),
        "layers": take("num_layers"),
        "heads": take("num_heads"),
        "degrees": list(degrees) if isinstance(degrees, list | tuple) else degrees,
        "cutoff": take("cutoff"),
        "radial_functions": take("num_radial_basis_fn"),
        "radial_basis": basis,
        "radial_gamma": gamma if basis == "bernstein" else 1.0,  # PhysNet: exp(-r)
        "cutoff_function": choose("cutoff_fn", {"phys": "polynomial", "cosine": "cosine"}),
        "message_norm": choose(
            "message_normalization",
            {"avg_num_neighbors": neighbours, "sqrt_num_features": None, "identity": 1.0},
        ),
        "layer_norm": take("layer_normalization_1"),
        "residual_mlp": take("residual_mlp_1"),
        "embed_charge": take("use_charge_embed", False),
        "embed_spin": take("use_spin_embed", False),
        "energy_scale": take("energy_learn_atomic_type_scales", False),
        "energy_hidden": take("energy_regression_dim"),
        "zbl": take("zbl_repulsion_bool", False),
        "electrostatics": take("electrostatic_energy_bool", False),
        "dispersion": take("dispersion_energy_bool", False),
        "electrostatic_scale": take("electrostatic_energy_scale", 4.0),
        "dispersion_scale": take("dispersion_energy_scale", 1.2),
        "dispersion_damping": 2.0 if damping is None else damping,
    }
    for key, value in left.items():
        if value is not None and value is not False:  # what is switched off does no harm
            raise InputError(f"its setting {key} = {value!r} is not known here")
    checked = check_architecture(found)
    if width not in (None, checked["features"] // checked["heads"]):
        raise InputError(f"its setting num_features_head is {width!r}, not features / heads")
    return checked


def _names(a: dict[str, Any]) -> Iterator[tuple[str, str | tuple[str, ...], Any, str]]:
    """(our name, torch name, flax name, kind) of each tensor; several names are stacked."""

    def dense(ours: str, torch: str, flax: str) -> Iterator[tuple[str, str, str, str]]:
        yield f"{ours}/kernel", f"{torch}.weight", f"{flax}/kernel", "kernel"
        yield f"{ours}/bias", f"{torch}.bias", f"{flax}/bias", "plain"

    torch, flax = "inv_feature_embedding.embedding.weight", "feature_embeddings_0/Embed_0/embedding"
    yield "embedding/elements", torch, flax, "elements"
    states = [f"{s}_embedding" for s in ("charge", "spin") if a[f"embed_{s}"]]
    for number, s in enumerate(states, 1):
        flax = f"feature_embeddings_{number}/ChargeSpinEmbedSparse_0"
        yield f"{s}/elements", f"{s}.Wq.weight", f"{flax}/Embed_0/embedding", "elements"
        yield f"{s}/key", f"{s}.Wk", f"{flax}/Embed_1/embedding", "plain"
        yield f"{s}/value", f"{s}.Wv", f"{flax}/Embed_2/embedding", "plain"
        for k in (0, 1):
            torch = f"{s}.mlp.{2 * k + 1}.weight"
            yield f"{s}/linear_{k}/kernel", torch, f"{flax}/Residual_0/layers_{k}/kernel", "kernel"
    for i in range(a["layers"]):
        ours, torch, flax = f"layer_{i}", f"euclidean_transformers.{i}", f"layers_{i}"
        block, heads = f"{flax}/attention_block", f"{torch}.euclidean_attention_block"
        for stream, short, n in (("feature", "inv", 1), ("euclidean", "ev", 2)):
            for part, net in (("radial", "mlp_rbf"), ("spherical", "mlp_ev")):
                for k, place in enumerate(("0", f"{net}_layer_1.0")):
                    yield from dense(
                        f"{ours}/attention/{stream}_filter/{part}_{k}",
                        f"{torch}.filter_net_{short}.{net}.{place}",
                        f"{block}/{part}_filter{n}_layer_{k + 1}",
                    )
            for role in ("query", "key", "value"):
                if (stream, role) != ("euclidean", "value"):  # its value is the harmonics
                    name, w = f"{ours}/attention/{stream}_{role}", f"W_{role[0]}_{short}"
                    yield name, f"{heads}.{w}", f"{block}/W{role[0]}{n}", "heads"
        if a["residual_mlp"]:
            for k in (0, 1):
                flax_name = f"{flax}/res_mlp_1_layer_{k + 1}"
                yield from dense(f"{ours}/mlp/linear_{k}", f"{torch}.mlp_1.{2 * k + 1}", flax_name)
        if a["layer_norm"]:
            for k in (0, 1):
                norm = f"{flax}/layer_normalization_{k + 1}"
                for leaf, w in (("scale", "weight"), ("bias", "bias")):
                    weight = f"{torch}.layer_norm_inv_{k + 1}.{w}"
                    yield f"{ours}/norm_{k}/{leaf}", weight, f"{norm}/{leaf}", "plain"
        exchange = f"{flax}/exchange_block/mlp_layer_2"
        yield from dense(f"{ours}/interaction", f"{torch}.interaction_block.linear_layer", exchange)
    torch, flax = "atomic_energy_output_block", "observables_0"
    yield from dense("energy/hidden", f"{torch}.layers.0", f"{flax}/energy_dense_regression")
    yield from dense("energy/output", f"{torch}.final_layer", f"{flax}/energy_dense_final")
    if a["energy_scale"]:
        yield "energy/scale", f"{torch}.energy_scales.weight", f"{flax}/atomic_scales", "column"
    if a["zbl"]:
        for name, parts in (("a", "a1 a2 a3 a4"), ("c", "c1 c2 c3 c4"), ("d", "d"), ("p", "p")):
            torch_names = tuple(f"zbl_repulsion.{part}_raw" for part in parts.split())
            flax_names = tuple(f"{flax}/zbl_repulsion/{part}" for part in parts.split())
            yield f"repulsion/{name}", torch_names, flax_names, "stack"
    if a["electrostatics"]:
        torch, head = "partial_charges_output_block", f"{flax}/electrostatic_energy/partial_charges"
        table = f"{torch}.atomic_embedding.weight"
        yield "charges/elements", table, f"{head}/Embed_0/embedding", "table column"
        torch = f"{torch}.transform_inv_features"
        yield from dense("charges/hidden", f"{torch}.0", f"{head}/charge_dense_regression_vec")
        yield from dense("charges/output", f"{torch}.2", f"{head}/charge_dense_final_vec")
    if a["dispersion"]:
        torch, head = "hirshfeld_output_block", "observables_2"
        table = f"{torch}.v_shift_embedding.weight"
        yield "hirshfeld/elements", table, f"{head}/Embed_0/embedding", "table column"
        table = f"{torch}.q_embedding.weight"
        yield "hirshfeld/queries", table, f"{head}/Embed_1/embedding", "table"
        torch, head = f"{torch}.transform_features", f"{head}/hirshfeld_ratios_dense"
        yield from dense("hirshfeld/hidden", f"{torch}.0", f"{head}_regression")
        yield from dense("hirshfeld/output", f"{torch}.2", f"{head}_final")


def _element_rows(array: np.ndarray, first: int, name: str) -> np.ndarray:
    """Rows for Z = 0 ... Z_MAX from rows that begin at Z = `first`; Z = 0 and the rest are zero."""
    if array.ndim == 0 or len(array) - 1 + first > Z_MAX:
        raise InputError(f"the tensor {name} does not have rows for at most {Z_MAX} elements")
    array = array[1 - first :]
    rows = np.zeros((Z_MAX + 1, *array.shape[1:]))
    rows[1 : len(array) + 1] = array
    return rows


def _convert(
    settings: dict[str, Any],
    source: dict[str, np.ndarray],
    gamma: float,
    shift: np.ndarray,
    *,
    torch: bool,
) -> Import:
    """Rename, transpose and pad. A shift that is the same for each element is dropped: it moves
    every energy of a molecule alike and costs digits in float32."""
    if np.ptp(shift) != 0:
        raise InputError("its energy shifts differ between elements; that is not implemented")
    a = _architecture(settings, gamma)
    tensors: dict[str, np.ndarray] = {}
    used: set[str] = set()
    for ours, torch_name, flax_name, kind in _names(a):
        name = torch_name if torch else flax_name
        parts = name if isinstance(name, tuple) else (name,)
        for part in parts:
            if part not in source:
                raise InputError(f"the tensor {part} is missing")
        used.update(parts)
        value = source[parts[0]]
        if kind == "stack":
            value = np.concatenate([source[part].ravel() for part in parts])
            value = value[0] if value.size == 1 else value
        if torch and kind in ("kernel", "elements", "column") and value.ndim == 2:
            value = value.T
        elif kind == "heads" and not torch and value.ndim == 3:
            value = value.transpose(0, 2, 1)
        if "column" in kind and value.ndim == 2 and value.shape[1] == 1:
            value = value[:, 0]
        if kind not in ("kernel", "plain", "heads", "stack"):
            first = 1 if torch and "table" not in kind else 0
            value = _element_rows(value, first, parts[0])
        with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
            tensors[ours] = np.array(value, np.float32, order="C")
    unused = sorted(set(source) - used)
    if unused:
        raise InputError(f"the tensor {unused[0]} has no place in its architecture")
    return Import(a, tensors)
