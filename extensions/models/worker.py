"""Reads the headers of models in a process that may be killed: run by `headers.py`, line by line.

Headers are what anybody wrote. A process of its own has its own memory and its own interpreter:
reading a thousand of them takes nothing from replies, and one that eats memory costs itself.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from extensions.engine_kit.api import check_safetensors
from extensions.models import detection, folder_facts, gguf_facts
from extensions.models.described import Described, Form, is_gone, trouble_of
from kernel.contract import Refused

MEMORY = 400 << 20
"""Bytes that a header may take, where the system can limit it; a vocabulary of 260,000 takes 80."""
GGML = (b"lmgg", b"fmgg", b"tjgg", b"algg")
"""How files of llama.cpp began before GGUF, and their adapters."""
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
CONVERT = "a format that can run programs, and is never loaded as it is. Convert it first."
OLD = "It is a GGML file of 2023, which nothing reads any more. Look for a GGUF form of the model."
ALONE = (
    "It is weights alone. Put it into a folder of its own, with the config.json and the tokenizer "
    "of its model."
)


def read(path: Path) -> Described:
    """What there is to know of a file or folder; raises OSError."""
    if path.is_dir():
        return folder_facts.of_folder(path)
    if path.suffix.lower() == ".gguf":
        return gguf_facts.of_gguf(path)
    with path.open("rb") as file:
        begin = file.read(4)
    if path.suffix.lower() == ".safetensors":
        form, trouble = "safetensors", ALONE
        try:
            check_safetensors(path)
        except Refused as refusal:
            trouble = trouble_of(refusal, path)
    else:
        form, trouble = of_bytes(path.name, begin)
    loaders = detection.of_file(path.name, form)
    return Described(form=form, trouble=trouble, loaders=loaders)


def of_bytes(name: str, begin: bytes) -> tuple[Form, str]:
    """What a file is by how it begins, and what is to be done about it."""
    if begin in GGML:
        return "GGML", OLD
    if any(begin.startswith(mark) for mark in PICKLES):
        return "pickle", f"{name} is in {CONVERT}"
    return "other", f"{name} is of no format that is known here. Look for a GGUF form of the model."


def answer(path: str) -> dict[str, Any]:
    """The facts of one path, or why there are none."""
    try:
        said = read(Path(path))
    except OSError as error:
        gone = is_gone(error, path)
        said = f"It cannot be read ({error.strerror})."
        return {"trouble": said, "passing": True, "gone": gone}
    except MemoryError:
        return {"trouble": "Reading its header takes too much memory. Download it again."}
    except Exception as error:
        return {
            "trouble": f"Its header cannot be read ({type(error).__name__}). Download it again."
        }
    return structs.asdict(said)


def serve() -> None:
    """One line in, one line out, until there are no more."""
    if sys.platform == "linux":  # macOS counts what is only reserved, and refuses.
        import resource

        # Of memory that is written to, not of addresses: a file of any size is mapped.
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        said = msgspec.json.encode(answer(msgspec.json.decode(line, type=str)))
        sys.stdout.buffer.write(said + b"\n")
        sys.stdout.buffer.flush()
