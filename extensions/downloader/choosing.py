"""Which files of a repository belong together: each form in which its model can be had."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from kernel.api import Struct

from .plan import Item, Repository
from .quantizations import Quantization, packing_of, quantization_of

Form = Literal["gguf", "safetensors", "pickle"]

PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
PICKLES = (".bin", ".pt", ".pth")
BESIDE = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".md", ".vocab", ".yaml", ".yml")
"""Endings of what belongs to a model's weights: tokenizers, templates, words of its makers."""
TEXTS = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".md", ".yaml", ".yml")
"""What is left with `--text-only`."""
PAPERS = re.compile(r"(?:licen[cs]e|notice|use_policy|copying)[^/]*", re.IGNORECASE)
NO_WEIGHTS = re.compile(
    r"(?:optimizer|scheduler|training_args|rng_state\w*|scaler|random_states\w*|trainer_state)\b.*",
    re.IGNORECASE,
)
"""What a training leaves beside them, and what only a training reads."""
ELSEWHERE = re.compile(
    r"(?:original|metal|onnx|openvino|coreml|tflite|flax|tf|mlx|runs|logs|checkpoint-\d+"
    r"|global_step\d+|images?|assets|figures?)",
    re.IGNORECASE,
)
"""Folders with the same model for other programs, or with what is no part of it."""
EYES = re.compile(r"(?:^|[-_./])mmproj(?:$|[-_./])", re.IGNORECASE)
NO_MODEL = re.compile(r"(?:^|[-_./])(?:imatrix|control[-_]vectors?)(?:$|[-_./])", re.IGNORECASE)
ADAPTER = re.compile(r"adapter_(?:config\.json|model\.(?:bin|safetensors))$")
LORA = re.compile(r"(?:^|[-_./])(?:q|do)?lora(?:$|[-_./])", re.IGNORECASE)


class Choice(Struct, frozen=True):
    """A form in which the model can be had: all of these files, or none."""

    id: str
    """Its own in the repository: a name of a file, or of the form."""
    form: Form
    items: tuple[Item, ...]
    quantization: Quantization
    lora: bool = False
    eyes: tuple[Item, ...] = ()
    """Files that let it see images (mmproj), of which one is enough; the best first."""

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)

    @property
    def weights(self) -> int:
        """Bytes of what is read into memory."""
        return sum(item.size for item in self.items if is_weights(item.path))


def choices(repository: Repository) -> list[Choice]:
    """All forms, the one to be preferred first: safetensors, GGUF by size, pickled files last."""
    lora = is_lora(repository)
    items = [item for item in repository.items if not NO_WEIGHTS.fullmatch(_name(item.path))]
    own = [item for item in items if not _is_elsewhere(item.path)]
    beside = [item for item in own if _is_beside(item.path)]
    found: list[Choice] = []
    if safe := _safetensors(own):
        packing = packing_of(f"{repository.repo}/{repository.revision}")
        found.append(Choice("safetensors", "safetensors", (*safe, *beside), packing, lora))
    found += ggufs(items, lora)
    if not found and (pickled := [item for item in own if item.path.endswith(PICKLES)]):
        says = Quantization("", 16.0, "Pickled files, an old form that can hide programs.")
        found.append(Choice("pickle", "pickle", (*pickled, *beside), says, lora))
    return found


def ggufs(items: Iterable[Item], lora: bool = False) -> list[Choice]:
    """Each GGUF of a repository, split ones as one, the largest first."""
    whole: defaultdict[str, list[Item]] = defaultdict(list)
    eyes: list[Item] = []
    for item in items:
        if not item.path.lower().endswith(".gguf") or NO_MODEL.search(item.path):
            continue
        if EYES.search(_name(item.path)):
            eyes.append(item)
        else:
            whole[PART.sub(".gguf", item.path)].append(item)
    eyes.sort(key=lambda item: (quantization_of(item.path).name != "F16", item.path))
    found: list[Choice] = []
    for id, parts in whole.items():
        parts.sort(key=lambda item: item.path)
        adapter = lora or bool(LORA.search(_name(id)))
        seen = () if adapter else tuple(eyes)
        found.append(Choice(id, "gguf", tuple(parts), quantization_of(id), adapter, seen))
    return sorted(found, key=lambda choice: (-choice.size, choice.id))


def missing_parts(choice: Choice) -> bool:
    """Whether a split GGUF lacks a part, as while its owner is still uploading."""
    for item in choice.items:
        if part := PART.search(item.path):
            return len(choice.items) != int(part[2])
    return False


def is_lora(repository: Repository) -> bool:
    """Whether it holds an adapter, and no model."""
    names = {item.path for item in repository.items}
    if any(ADAPTER.fullmatch(name) for name in names):
        return not any(re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", name) for name in names)
    return any(tag.startswith("base_model:adapter:") for tag in repository.tags)


def selected(
    repository: Repository,
    *,
    include: str = "",
    exclude: str = "",
    text_only: bool = False,
) -> list[Item]:
    """The files that patterns leave, of all that can belong to a model; raises `re.error`.

    Pickled files come where a pattern asks for them, or where there is nothing else: they do not
    stand in for what was left out.
    """
    wanted, unwanted = re.compile(include), re.compile(exclude)
    offered = {item.path for choice in choices(repository) for item in choice.items}

    def belongs(path: str) -> bool:
        if text_only:
            return _is_text(path)
        pickled = path.lower().endswith(PICKLES)
        return is_kept(path) and (not pickled or bool(include) or path in offered)

    return [
        item
        for item in repository.items
        if belongs(item.path)
        and (not include or wanted.search(item.path))
        and (not exclude or not unwanted.search(item.path))
    ]


# --- by name ----------------------------------------------------------------------------


def _safetensors(items: list[Item]) -> list[Item]:
    """Without second copies: in Mistral's own form, or in another precision."""
    found = [item for item in items if item.path.lower().endswith(".safetensors")]
    roots = {item.path for item in found if "/" not in item.path}
    plain = {name for name in roots if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", name)}
    if not plain:
        return found
    others = r"(?:consolidated|model\.[\w]+)[\w.-]*\.safetensors"
    return [item for item in found if item.path in plain or not re.fullmatch(others, item.path)]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def is_weights(path: str) -> bool:
    return path.lower().endswith((".gguf", ".safetensors", *PICKLES))


def _is_beside(path: str) -> bool:
    name = _name(path)
    hidden = any(part.startswith(".") for part in path.split("/"))
    return not hidden and (name.lower().endswith(BESIDE) or bool(PAPERS.fullmatch(name)))


def _is_text(path: str) -> bool:
    name = _name(path)
    return _is_beside(path) and (name.lower().endswith(TEXTS) or bool(PAPERS.fullmatch(name)))


def is_kept(path: str) -> bool:
    return is_weights(path) or _is_beside(path)


def _is_elsewhere(path: str) -> bool:
    return any(ELSEWHERE.fullmatch(folder) for folder in path.split("/")[:-1])
