"""What is told of a model's memory before it is loaded, beside what its worker then takes.

    python -m tests.engines.weighed ENVIRONMENTS [WORDS…]

prints a table, of the rows whose names hold one of the words; docs/decisions/0029 has one.
"""

import asyncio
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.models import make as quantized
from extensions.engine_kit.api import memories, used
from extensions.llama_cpp.api import Options
from extensions.llama_cpp.loader import ENGINES
from extensions.llama_cpp.weighing import Headers
from extensions.llama_cpp.weighing import weigh as weigh_gguf
from extensions.llamacpp_hf import ENGINE, HfOptions
from extensions.transformers import Options as FolderOptions
from extensions.transformers.weighing import Folders, fast_formats
from extensions.transformers.weighing import weigh as weigh_folder
from kernel.contract import Request, Sampling
from kernel.worker import Worker
from tests.engines.larger import TOKENS, make
from tests.engines.real import ROOT, STORIES, engine

FOLDERS = {
    "15m": (288, 6, 6, 6, 768),
    "110m": (768, 12, 12, 12, 2048),
    "500m": (1280, 24, 20, 4, 3584),
}
"""Width, layers, heads, heads of keys and values, inner width."""
TURNS = 6
"""So often a conversation of full length is asked for: all that is remembered is there then."""
WIDE = ROOT / "tests" / "engines" / "counted.py"
"""The native engine, whose clock can say that this machine is fast: its steps are as wide as what
it reads in a second, and the widest are what is told."""
PLACES = {
    "prebuilt": ("llama_cpp", "xllamacpp"),
    "native": ("llama_cpp", "xllamacpp-native"),
    "llamacpp_HF": ("llamacpp_hf", "torch"),
    "transformers": ("transformers", "torch"),
}


class Case(NamedTuple):
    """A model and the options that it is loaded with."""

    engine: str
    model: str
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        more = " ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.engine} {self.model} {more}"


LLAMA = (
    ("260k", {"context_length": 512}),
    ("15m", {"context_length": 512}),
    ("15m", {"context_length": 8192}),
    ("15m", {"context_length": 8192, "ubatch_size": 128}),
    ("15m", {"context_length": 8192, "flash_attn": "on"}),
    ("110m", {"context_length": 4096}),
    ("110m", {"context_length": 4096, "mmap": False}),
)
CASES = (
    *(Case(which, *row) for which in ("prebuilt", "native") for row in LLAMA),
    Case("prebuilt", "110m", {"context_length": 4096, "cache_type": "f32"}),
    Case("prebuilt", "110m q4_0", {"context_length": 2048, "mmap": False}),
    Case("native", "110m q4_0", {"context_length": 2048, "mmap": False}),
    Case("native", "1b q4_0", {"context_length": 2048, "mmap": False}),
    Case("llamacpp_HF", "260k", {"context_length": 512}),
    Case("llamacpp_HF", "15m", {"context_length": 4096}),
    Case("llamacpp_HF", "15m", {"context_length": 4096, "cfg_cache": True}),
    Case("transformers", "260k", {"dtype": "float32"}),
    Case("transformers", "15m", {"context_length": 4096, "dtype": "float32"}),
    Case("transformers", "110m", {"context_length": 512, "dtype": "float32"}),
    Case("transformers", "110m", {"context_length": 2048, "dtype": "float32"}),
    Case("transformers", "110m", {"context_length": 2048, "dtype": "bfloat16"}),
    Case("transformers", "500m", {"context_length": 1024, "dtype": "float32"}),
)


def model(case: Case, folder: Path) -> Path:
    """The file or folder; its weights are zero, or random where they are quantized."""
    if case.engine == "transformers":
        return STORIES / "hf" if case.model == "260k" else safetensors(folder, case.model)
    name, _, kind = case.model.partition(" ")
    if kind:  # read whole at the load: else the file's pages stay beside the rearranged weights
        return quantized(folder, name, kind)
    return STORIES / "stories260K.gguf" if case.model == "260k" else make(folder, case.model)


def safetensors(folder: Path, name: str) -> Path:
    """A Llama in float32 whose weights are a hole in the file."""
    wide, layers, heads, shared, inner = FOLDERS[name]
    path, keys = folder / f"zeros-{name}", wide * shared // heads
    shapes = {"model.embed_tokens.weight": (TOKENS, wide), "model.norm.weight": (wide,)}
    for layer in range(layers):
        each = {
            "self_attn.q_proj": (wide, wide), "self_attn.k_proj": (keys, wide),
            "self_attn.v_proj": (keys, wide), "self_attn.o_proj": (wide, wide),
            "mlp.gate_proj": (inner, wide), "mlp.up_proj": (inner, wide),
            "mlp.down_proj": (wide, inner), "input_layernorm": (wide,),
            "post_attention_layernorm": (wide,),
        }  # fmt: skip
        shapes |= {f"model.layers.{layer}.{key}.weight": shape for key, shape in each.items()}
    header, at = dict[str, Any](), 0
    for key, shape in shapes.items():
        end = at + 4 * math.prod(shape)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, end]}
        at = end
    raw = json.dumps({**header, "__metadata__": {"format": "pt"}}).encode()
    path.mkdir(parents=True, exist_ok=True)
    with (path / "model.safetensors").open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + at)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": TOKENS,
        "hidden_size": wide, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": shared, "dtype": "float32",
        "max_position_embeddings": 8192, "tie_word_embeddings": True,
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STORIES / "hf" / file, path / file)
    return path


def told(case: Case, path: Path) -> int:
    """Bytes of the machine's memory, as the form says."""
    if case.engine == "transformers":
        options = msgspec.structs.asdict(FolderOptions(**case.options))
        fit = weigh_folder(Folders().of(path), options, memories(), fast=fast_formats())
    else:
        kind, prebuilt = (HfOptions if case.engine == "llamacpp_HF" else Options), False
        size = ENGINE if case.engine == "llamacpp_HF" else 0
        prebuilt = case.engine == "prebuilt"
        options = msgspec.structs.asdict(kind(**case.options))
        fit = weigh_gguf(
            Headers().of(path),
            options,
            memories(),
            prebuilt=prebuilt,
            engine=size or ENGINES[prebuilt],
        )
    assert fit.verdict == "fits", fit.said
    return fit.shares[0].total


async def taken(case: Case, path: Path, environments: Path) -> int:
    """The most that the worker had resident after conversations that fill the context."""
    extension, environment = PLACES[case.engine]
    file = WIDE if case.engine == "native" else None
    async with engine(extension, environments / environment, file) as worker:
        info = await worker.load(path, case.options)
        if file:
            await worker.call("slow", speed=1e9)
        most, count = 0, info.context_length - 16
        guided: dict[str, Any] = {}
        if case.options.get("cfg_cache"):
            words = " w1" * (count // 5)  # each is five tokens
            guided = {"guidance_scale": 1.5, "negative_prompt": words}
        for turn in range(TURNS if case.engine == "transformers" else 1):
            sampling = Sampling(temperature=0.0, max_new_tokens=3, ban_eos_token=True, **guided)
            ids = (*(3 + at % 100 for at in range(count)), 3 + turn)
            async for _ in worker.generate(Request(token_ids=ids, sampling=sampling)):
                most = max(most, await resident(worker))
            most = max(most, await resident(worker))
        return most


async def resident(worker: Worker) -> int:
    now = await asyncio.to_thread(used, worker.pid)
    return now.total if now else 0


async def main(environments: Path, words: list[str]) -> None:
    print("| engine | model | options | told, MB | taken, MB | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if words and not any(word in case.name for word in words):
                continue
            path = model(case, Path(folder))
            says, takes = told(case, path), await taken(case, path, environments)
            options = ", ".join(f"{key} {value}" for key, value in case.options.items())
            row = f"| {case.engine} | {case.model} | {options} | {says / 1e6:,.0f} |"
            print(f"{row} {takes / 1e6:,.0f} | {says / takes - 1:+.1%} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
