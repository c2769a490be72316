"""What a training run is: one TOML file, complete, and checked before anything long begins.

    [data]
    files = ["ethanol.npz"]
    train = 950
    validation = 50

    [network]
    features = 64

    [optimiser]
    steps = 100_000

Everything else has a default, and `Config.model_dump` shows all of it. Paths are relative to the
TOML file. A setting that is not known, or of a wrong kind, is refused with its name.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from topokrates.model.errors import InputError
from topokrates.model.parameters import check_architecture

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AtLeastOne = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of the file: nothing unknown, nothing of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Section):
    """Where labelled frames come from and how they are divided.

    Attributes:
        files: of frames; an npz that holds several sets takes `path#set` (keys `R_set`, ...).
        test_files: frames that are kept for the test, whatever the split.
        train, validation, test: numbers of frames; None for all that are left.
        train_index, validation_index, test_index: files of frame numbers from 0 (txt, csv, npy,
            npz as `path#key` or `path#key/row`), among which the numbers above are drawn.
        seed: of the division.
        energy_unit, length_unit: of the files; forces are in energy per length.
        energy_key, forces_key, dipole_key: names of the labels in files that ASE reads.
    """

    files: Annotated[list[str], Field(min_length=1)]
    test_files: list[str] = []
    train: AtLeastOne | None = None
    validation: AtLeastOne | None = None
    test: Count | None = None
    train_index: str | None = None
    validation_index: str | None = None
    test_index: str | None = None
    seed: Count = 0
    energy_unit: Literal["eV", "kcal/mol", "kJ/mol", "hartree"] = "eV"
    length_unit: Literal["angstrom", "bohr"] = "angstrom"
    energy_key: str | None = None
    forces_key: str | None = None
    dipole_key: str | None = None


class Network(Section):
    """The architecture: attributes of `so3krates.SO3krates`, with a compact network as default."""

    features: int = 64
    layers: int = 3
    heads: int = 4
    degrees: list[int] = [1, 2, 3, 4]
    cutoff: float = 4.5
    radial_functions: int = 32
    radial_basis: str = "bernstein"
    radial_gamma: float = 0.9448630629184640
    cutoff_function: str = "polynomial"
    message_norm: float | None = None
    layer_norm: bool = True
    residual_mlp: bool = True
    embed_charge: bool = False
    embed_spin: bool = False
    energy_hidden: int = 64
    energy_scale: bool = True
    zbl: bool = True
    electrostatics: bool = False
    dispersion: bool = False
    electrostatic_scale: float = 4.0
    dispersion_scale: float = 1.2
    dispersion_damping: float = 2.0

    @model_validator(mode="after")
    def _known(self) -> "Network":
        try:
            check_architecture(self.model_dump())
        except InputError as error:
            raise ValueError(str(error)) from None
        return self


class Start(Section):
    """Begin with trained weights, which bring their own architecture.

    Attributes:
        weights: a name or path as for `--model`; "" starts from chance.
        freeze: names of parameters that stay, or their beginnings ("embedding", "layer_0").
    """

    weights: str = ""
    freeze: list[str] = []


class Loss(Section):
    """Weights of the mean squared errors; the energy's are divided by the number of atoms.

    Attributes:
        energy: per eV^2.
        forces: per (eV/Å)^2.
        dipole: per (e Å)^2, of networks with electrostatics and files with dipoles.
        huber: eV/Å; force errors beyond it count linearly. None for squares throughout.
    """

    energy: Weight = 0.01
    forces: Weight = 0.99
    dipole: Weight = 0.0
    huber: Positive | None = None


class Optimiser(Section):
    """How parameters are moved; their running average is what is kept.

    Attributes:
        method: "adam", with decoupled weight decay, or "muon": the momentum of matrices made
            orthogonal (Jordan et al. 2024, scaled as in Liu et al., arXiv:2502.16982), and Adam for
            all else.
        steps: in all.
        batch: structures per step.
        learning_rate: the highest; None for 5e-3 with muon, 1e-3 with adam. To fine-tune weights
            without forgetting much, give less.
        schedule: "cosine" falls to a hundredth at the last step, "exponential" by `decay` every
            100,000 steps (0.7 in Frank et al. 2024), "constant" stays.
        warmup: steps from zero to the highest rate.
        weight_decay: of matrices.
        clip: largest norm of a gradient.
        ema: decay of the average per step; 0 for none.
    """

    method: Literal["adam", "muon"] = "muon"
    steps: AtLeastOne = 100_000
    batch: AtLeastOne = 10
    learning_rate: Positive | None = None
    schedule: Literal["cosine", "exponential", "constant"] = "cosine"
    decay: Annotated[float, Field(gt=0, le=1)] = 0.7
    warmup: Count = 1_000
    weight_decay: Weight = 0.0
    clip: Positive = 10.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warmup."""
        return self.learning_rate or {"adam": 1e-3, "muon": 5e-3}[self.method]


class Run(Section):
    """Housekeeping.

    Attributes:
        seed: of the first parameters and the order of frames.
        validate_every: steps between measurements on the validation frames.
        checkpoint_every: steps between files from which a killed run goes on.
        name, licence, citation: written into the weights.
    """

    seed: Count = 0
    validate_every: AtLeastOne = 1_000
    checkpoint_every: AtLeastOne = 1_000
    name: str = ""
    licence: str = "unknown"
    citation: str = ""


class Config(Section):
    """All of a run."""

    data: Data
    network: Network = Network()
    start: Start = Start()
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    run: Run = Run()

    @model_validator(mode="after")
    def _fits(self) -> "Config":
        if not (self.loss.energy or self.loss.forces):
            raise ValueError("loss: energy and forces both have no weight")
        if self.start.weights and self.network.model_fields_set:
            raise ValueError("network: weights to start from bring their own architecture")
        if self.start.freeze and not self.start.weights:
            raise ValueError("start: to freeze parameters, name weights to start from")
        if self.loss.dipole and not (self.network.electrostatics or self.start.weights):
            raise ValueError("loss: dipoles need a network with electrostatics = true")
        return self


def load(path: str | Path) -> tuple[Config, Path]:
    """The configuration in a TOML file, and the folder that its paths are relative to.

    Raises:
        InputError: naming the setting that cannot be used, and what could.
    """
    path = Path(path).expanduser()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    return of_table(table, str(path)), path.absolute().parent


def of_table(table: dict[str, Any], source: str = "the configuration") -> Config:
    """The configuration of a table as TOML gives it; raises InputError as `load`."""
    try:
        return Config.model_validate(table)
    except ValidationError as error:
        raise InputError(f"{source}: {'; '.join(map(_line, error.errors()))}") from None


def _line(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            section = Config.model_fields.get(str(problem["loc"][0]))
            known: Any = Config if len(problem["loc"]) == 1 or not section else section.annotation
            return f"{where} is not a setting; there are {', '.join(known.model_fields)}"
        case "missing":
            return f"{where} is missing"
        case "value_error":
            return str(problem["ctx"]["error"])
    what = problem["msg"].replace("Input should be", "it must be")
    return f"{where} is {problem['input']!r}: {what}"
