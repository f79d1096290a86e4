"""What is to be converted into what: a file alone, or all parts of a model or an adapter."""

import re
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from kernel.api import Refused, Struct, built

ENDINGS = (".bin", ".pt", ".pth", ".ckpt")
INDEX = "pytorch_model.bin.index.json"
LARGEST_INDEX = 50_000_000
MOST_PARTS = 1000
PART = re.compile(r"pytorch_model-([0-9]{5})-of-([0-9]{5})\.bin")
NOT_WEIGHTS = re.compile(
    r"(training_args|optimizer|scheduler|scaler|rng_state|random_states|global_step).*"
)
"""What programs for training leave beside weights."""
USUAL = {"pytorch_model.bin": "model", "adapter_model.bin": "adapter_model"}
TORCH = (b"PK\x03\x04", b"\x80")
"""How files of PyTorch and other pickles begin."""


class Step(Struct, frozen=True):
    """A file, and what is made of it, by their names in the folder."""

    source: str
    target: str


class Plan(Struct, frozen=True):
    """What is to be made in a folder; `index` is the list of parts that is made last, if any."""

    folder: Path
    steps: tuple[Step, ...]
    index: str
    size: int
    """Bytes of the sources."""
    tied: bool
    """Whether the model says that it ties its output to its input."""

    @property
    def targets(self) -> list[Path]:
        names = [*(step.target for step in self.steps), *filter(None, (self.index,))]
        return [self.folder / name for name in names]

    def part(self, step: Step) -> Path:
        """Where a file is written until it is whole: hidden, beside what it will be."""
        return self.folder / f".{step.target}.part"


@built
class Index(msgspec.Struct, frozen=True):
    """pytorch_model.bin.index.json."""

    weight_map: dict[str, str]


@built
class Config(msgspec.Struct, frozen=True):
    """What config.json says of this."""

    tie_word_embeddings: bool = False


def plan_of(path: Path, *, again: bool = False) -> Plan:
    """How to convert a file or a folder; raises Refused. `again`: some of it may be there already.
    Blocking."""
    folder, names, target, index = path.parent, [path.name], "", ""
    if path.is_dir():
        folder, names = path, weights_in(path)
    elif path.suffix.lower() not in ENDINGS:
        raise Refused(f"{path.name} is no .bin, .pt or .pth file. There is nothing to convert.")
    if PART.fullmatch(names[0]):
        names, index = parts_in(folder), "model.safetensors.index.json"
        targets = [name.replace("pytorch_model", "model", 1) for name in names]
        targets = [Path(name).with_suffix(".safetensors").name for name in targets]
    else:
        whole = (folder / "config.json").is_file() and weights(folder) == names
        target = USUAL.get(names[0]) or ("model" if whole else Path(names[0]).stem)
        targets = [f"{target}.safetensors"]
    steps = tuple(map(Step, names, targets))
    size = sum(size_of(folder / name) for name in names)
    plan = Plan(folder, steps, index, size, tied(folder / "config.json"))
    if not again and targets[0].startswith("model") and (there := [*folder.glob("*.safetensors")]):
        raise Refused(f"{folder.name} has {there[0].name} already. Convert in a folder without it.")
    if strange := [name for name in names if not begins_as_torch(folder / name)]:
        raise Refused(f"{strange[0]} is no file of PyTorch. There is nothing to convert.")
    for made in () if again else plan.targets:
        if made.exists() or made.is_symlink():
            raise Refused(f"{made.name} is there already. To convert anew, move it away first.")
    return plan


def weights_in(folder: Path) -> list[str]:
    """The weights of a model or adapter that are to be converted; raises Refused."""
    found = weights(folder)
    for name in USUAL:
        if name in found:
            return [name]
    if (folder / INDEX).exists() or any(map(PART.fullmatch, found)):
        return parts_in(folder)
    if len(found) == 1:
        return found
    if not found:
        raise Refused(f"{folder.name} has no .bin, .pt or .pth weights. Nothing is to convert.")
    raise Refused(
        f"{folder.name} has several files of weights ({', '.join(found[:3])}). Convert each: "
        "python server.py convert FILE"
    )


def weights(folder: Path) -> list[str]:
    """Names in a folder that look like weights of PyTorch, sorted."""
    try:
        files = [each.name for each in folder.iterdir() if each.suffix.lower() in ENDINGS]
    except OSError:
        return []
    return sorted(name for name in files if name[0] != "." and not NOT_WEIGHTS.fullmatch(name))


def parts_in(folder: Path) -> list[str]:
    """The parts of a model: those that its index names, or those whose names count themselves."""
    index = folder / INDEX
    if index.exists():
        try:
            listed = msgspec.json.decode(text_of(index), type=Index)
            names = sorted({*listed.weight_map.values()})
        except (OSError, ValueError, RecursionError) as error:
            raise Refused(f"{index.name} is damaged: {error}. Download it again.") from None
        if strange := [name for name in names if not PART.fullmatch(name)]:
            raise Refused(f"{index.name} names a file that is no part of it: {strange[0][:80]!a}.")
        check_parts(folder, names)
        return names
    counts = {match[2] for name in weights(folder) if (match := PART.fullmatch(name))}
    if len(counts) != 1:
        raise Refused(f"{folder.name} has parts of two models. Leave those of one in it.")
    count = int(counts.pop())
    names = [f"pytorch_model-{n:05}-of-{count:05}.bin" for n in range(1, min(count, 99999) + 1)]
    check_parts(folder, names)
    return names


def check_parts(folder: Path, names: list[str]) -> None:
    if not 0 < len(names) <= MOST_PARTS:
        raise Refused(f"{folder.name} has no parts, or more than any model. Download it again.")
    for name in names:
        if not (folder / name).exists():
            raise Refused(f"{name} is missing in {folder.name}. Download it first.")


def size_of(path: Path) -> int:
    """Bytes of a file, wherever a link leads; raises Refused where it is none."""
    try:
        status = path.stat()
    except OSError as error:
        raise Refused(f"{path.name} cannot be read ({error.strerror}). Look where it is.") from None
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path.name} is no file. Look at what lies there.")
    return status.st_size


def text_of(path: Path) -> bytes:
    """A file of JSON; raises ValueError where it is none, or far too large for one."""
    if not path.is_file() or path.stat().st_size > LARGEST_INDEX:
        raise ValueError("it is no file, or far too large")
    return path.read_bytes()


def tied(config: Path) -> bool:
    try:
        return msgspec.json.decode(text_of(config), type=Config).tie_word_embeddings
    except (OSError, ValueError, RecursionError):
        return False  # it is told when the model is loaded


def convertible(path: Path) -> bool:
    """Whether a file or folder is worth offering: weights of PyTorch, and none of safetensors."""
    try:
        plan_of(path)
    except Refused:
        return False
    return True


def begins_as_torch(path: Path) -> bool:
    """Whether its first letters are those of PyTorch's files: others end in .bin, too."""
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(TORCH)
    except OSError:
        return False


def described(plan: Plan) -> str:
    """What is converted, in a word."""
    names: Iterable[str] = [step.source for step in plan.steps]
    if all(name.startswith("adapter") for name in names):
        return "adapter"
    return f"{len(plan.steps)} files" if plan.index else "one file"
