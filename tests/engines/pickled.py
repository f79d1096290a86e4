"""Real files of PyTorch, and what it makes of them: run in its environment, it answers JSON lines.

Each is a list of words: `make SOURCE.safetensors FOLDER …` (the form is the folder's name),
`logits FOLDER …`, `kinds TARGET`, `compared OLD NEW`, `second FILE …`, `differing FILE`, `altered
FILE PART` and, last of all, as it binds the process, `memory`.
"""

import json
import sys
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]  it is in the engine's environment
from msgspec import structs
from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]

from kernel.worker_host import load_code

TYPES = (
    "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool uint16 uint32 uint64 "
    "complex64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu"
)


def make(source, *folders):
    """Save the weights in each folder: `new`, `old`, `wrapped` or, with an index, `parts`."""
    for folder in map(Path, folders):
        state, target = load_file(source), folder / "pytorch_model.bin"
        if "model.embed_tokens.weight" in state:  # as PyTorch keeps what is tied
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        match folder.name:
            case "old":
                torch.save(state, target, _use_new_zipfile_serialization=False)
            case "wrapped":
                torch.save({"state_dict": state, "epoch": 3}, target)
            case "parts":
                in_parts(state, folder)
            case "adapter":
                torch.save(state, folder / "adapter_model.bin")
            case _:
                torch.save(state, target)


def in_parts(state, folder):
    names, where = sorted(state), {}
    for n in range(3):
        file = f"pytorch_model-{n + 1:05}-of-00003.bin"
        torch.save({name: state[name] for name in names[n::3]}, folder / file)
        where |= dict.fromkeys(names[n::3], file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def kinds(target):
    """One tensor of each kind, and all ways in which tensors share their bytes."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {name: (torch.arange(6) % 2).to(getattr(torch, name)) for name in TYPES.split()}
    state |= {"base": base, "tied": base, "row": base[1], "turned": base.T, "column": base[:, 2]}
    state |= {"single": torch.tensor(3.5), "empty": torch.zeros(0, 3)}
    state |= {"nan": torch.tensor([float("nan")]), "own": torch.nn.Parameter(base + 1)}
    torch.save(state, target)


def compared(old, new):
    """Which tensors are bit by bit the same in both files, which are not, and which are gone."""
    before, after = torch.load(old, weights_only=True), load_file(new)
    same = [name for name in before if name in after and identical(before[name], after[name])]
    other = sorted(before.keys() & after.keys() - {*same})
    return {"same": same, "other": other, "lost": sorted(before.keys() - after.keys())}


def identical(one, two):
    raw = [each.detach().contiguous().reshape(-1).view(torch.uint8) for each in (one, two)]
    return one.dtype == two.dtype and one.shape == two.shape and torch.equal(*raw)


def logits(*folders):
    """Of a few tokens, by each folder's old files and by its new ones."""
    from transformers import (  # noqa: PLC0415 - seconds  # pyright: ignore[reportMissingImports]
        AutoConfig,
        AutoModelForCausalLM,
    )

    def said(model):
        with torch.no_grad():
            tokens = torch.tensor([[1, 403, 407, 261, 378]])
            return model.eval().float()(tokens).logits.flatten().tolist()

    found = []
    for folder in map(Path, folders):
        model, state = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)), {}
        for file in folder.glob("pytorch_model*.bin"):
            made = torch.load(file, weights_only=True)
            state |= made.get("state_dict", made)
        model.load_state_dict(state)
        new = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
        found.append((said(model), said(new)))
    return found


def ours(what):
    """Part of the converter, as a worker imports it."""
    return load_code(str(Path(__file__).parents[2] / "extensions" / "converter" / what))


def second(*files):
    """What PyTorch alone says of files that the outline should not have let pass."""
    contents, load = ours("forms.py:Contents"), ours("writing.py:load")
    said = []
    for file in map(Path, files):
        old = file.read_bytes()[:2] != b"PK"
        try:
            load(file, contents({}, "", (), old), lambda: None)
        except Exception as error:
            said.append(type(error).__name__)
        else:
            said.append("read")
    return said


def differing(file):
    """What is said where the outline reads another shape, kind or name than PyTorch does."""
    contents, load = ours("forms.py:look")(Path(file)), ours("writing.py:load")
    a, b = contents.tensors["a"], contents.tensors["b"]
    said = []
    for told in (
        {"a": a, "b": b},
        {"a": structs.replace(a, shape=(3, 2))},
        {"a": structs.replace(a, kind="I32")},
        {"c": a},
    ):
        try:
            load(Path(file), structs.replace(contents, tensors=told), lambda: None)
        except Exception as error:
            said.append(str(error))
        else:
            said.append("")
    return said


def altered(file, part):
    """Whether it is seen that a bit of what was written is another one."""
    look, kept, load, write, compare = (
        ours(f"{what}")
        for what in (
            "forms.py:look",
            *(f"writing.py:{n}" for n in ("kept", "load", "write", "compare")),
        )
    )
    contents, part = look(Path(file)), Path(part)
    said, _ = kept(contents, Path(file).stat().st_size, False)
    tensors = load(Path(file), contents, lambda: None)
    write(part, said, tensors, {"format": "pt"}, lambda done: None)
    compare(part, tensors, {*said}, lambda done: None)
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    try:
        compare(part, tensors, {*said}, lambda done: None)
    except Exception as error:
        return str(error)
    return "not seen"


def memory():
    """Whether it is said that memory ran out, where it is bound and something wants more."""
    starved = ours("limits.py:starved")
    ours("limits.py:bind")(1 << 20)
    try:
        torch.empty(2_000_000_000, dtype=torch.uint8)
    except Exception as error:
        return starved(error)
    return "had it"


if __name__ == "__main__":
    for line in sys.stdin:
        what, *words = json.loads(line)
        print(json.dumps(globals()[what](*words)), flush=True)
