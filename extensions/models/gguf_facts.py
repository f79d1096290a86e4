"""What a GGUF file says of itself."""

import math
from collections import Counter
from pathlib import Path

from msgspec import structs

from extensions.engine_kit.api import Gguf, check_gguf_model, read_gguf
from extensions.models import detection, words
from extensions.models.cards import Card, card_beside
from extensions.models.described import Described, Role, trouble_of
from kernel.contract import Refused

ROLES: dict[str, Role] = {
    "adapter": "adapter", "mmproj": "projector", "clip": "projector", "imatrix": "part",
    "controlvector": "part",
}  # fmt: skip
"""What a file is that is no model, by its type or architecture."""


def of_gguf(path: Path) -> Described:
    """The facts of one, all its parts together; what is wrong with it is its `trouble`."""
    seen = Described(form="GGUF", loaders=detection.of_file(path.name, "GGUF"))
    try:
        file = read_gguf(path)
        seen = told(seen, file, card_beside(path))
        whole = check_gguf_model(path, file)
    except Refused as refusal:
        return structs.replace(seen, trouble=trouble_of(refusal, path))
    return structs.replace(seen, **weighed(whole))


def told(seen: Described, file: Gguf, card: Card) -> Described:
    """What stands in its metadata."""
    get, role = file.metadata.get, role_of(file)
    template = get("tokenizer.chat_template", "")
    return structs.replace(
        seen,
        role=role,
        loaders=seen.loaders if role == "model" else (),
        title=words.line(get("general.name")),
        architecture=words.line(get("general.architecture")),
        context_length=words.number(file.of_arch("context_length")),
        layers=words.number(file.of_arch("block_count")),
        template=words.template(template) if isinstance(template, str) else "",
        licence=words.line(get("general.license.name"))
        or words.line(get("general.license"))
        or card.licence,
        base=words.line(get("general.base_model.0.name")) or card.base,
        **weighed(file),
    )


def weighed(file: Gguf) -> dict[str, object]:
    """What its tensors come to; of one part, or of all where they were read."""
    bytes_of: Counter[int] = Counter()
    for tensor in file.tensors.values():
        bytes_of[tensor.kind] += tensor.bytes
    kind = bytes_of.most_common(1)[0][0] if bytes_of else -1
    said = file.metadata.get("general.file_type")
    files = words.number(file.metadata.get("split.count", 1), 999) or 1
    return {
        "parameters": sum(math.prod(tensor.shape) for tensor in file.tensors.values()),
        "quantization": words.FILE_TYPES.get(said if isinstance(said, int) else -1)
        or words.TENSOR_TYPES.get(kind, ""),
        "files": files,
    }


def role_of(file: Gguf) -> Role:
    kind, arch = (file.metadata.get(f"general.{key}") for key in ("type", "architecture"))
    for said in (kind, arch):
        if isinstance(said, str) and said in ROLES:
            return ROLES[said]
    return "model"
