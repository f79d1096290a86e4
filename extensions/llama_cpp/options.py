"""What a user may choose when loading a GGUF file: in the form, by flags, for both engines."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast

import msgspec

from extensions.llama_cpp.old_names import FORMER, MOST_LAYERS, modern
from kernel.contract import Meta, Struct, built

CacheType = Literal["f16", "bf16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
SPEED, CARDS, MEMORY, LONG, ADDED = (
    *("Speed", "Graphics cards", "Memory", "Long conversations"),
    "Adapters, images, engine",
)
FLAGS = (
    "gpu-layers", "n-gpu-layers", "ctx-size", "n-ctx", "max-seq-len", "threads", "threads-batch",
    "batch-size", "n-batch", "ubatch-size", "cache-type", "cache-8bit", "cache-4bit",
    "flash-attn", "parallel", "tensor-split", "split-mode", "row-split", "main-gpu",
    "no-kv-offload", "no-offload-kqv", "cpu-moe", "no-mmap", "mlock", "numa", "cache-ram",
    "streaming-llm", "attention-sink-size", "rope-freq-base", "alpha-value", "compress-pos-emb",
    "mmproj", "override-kv", "rpc", "engine",
)  # fmt: skip
"""Those that extension.toml declares; each is an option, by its name of today or an old one."""


def main(words: str, title: str | None = None, **bounds: Any) -> Any:
    return Meta(description=words, title=title, **bounds)


def folded(group: str, words: str, title: str | None = None, wants: str = "", **bounds: Any) -> Any:
    """A field that the form shows below a heading which is opened with a click; `wants` words a
    pattern."""
    extra = {"group": group} | ({"wants": wants} if wants else {})
    return Meta(description=words, title=title, extra=extra, **bounds)


@built
class Options(Struct, frozen=True):
    """The fields of the load form; old names of theirs are accepted, see old_names.py."""

    context_length: Annotated[
        int,
        main("Tokens of one conversation; 0 is the model's own.", ge=0, le=10_000_000),
    ] = 0
    gpu_layers: Annotated[
        int,
        main(
            "Layers on the graphics card; -1 is all that fit.",
            ge=-1,
            le=MOST_LAYERS,
            title="GPU layers",
        ),
    ] = -1
    threads: Annotated[
        int, main("Processor threads; 0 chooses by the model's size.", ge=0, le=256)
    ] = 0
    cache_type: Annotated[
        CacheType,
        main(
            "How conversations are kept in memory: q8_0 takes half of f16, q4_0 a quarter. "
            "On a processor anything but f16 reads prompts about three times slower."
        ),
    ] = "f16"

    threads_batch: Annotated[
        int, folded(SPEED, "Threads that read prompts; 0: as many as write.", ge=0, le=256)
    ] = 0
    batch_size: Annotated[
        int,
        folded(
            SPEED,
            "Tokens that are read in one step, at most; fewer where others would wait long for it.",
            ge=32,
            le=8192,
        ),
    ] = 512
    ubatch_size: Annotated[
        int,
        folded(
            SPEED,
            "The part of it that is computed at once; more takes memory.",
            ge=8,
            le=8192,
            title="Micro-batch size",
        ),
    ] = 512
    flash_attn: Annotated[
        Literal["auto", "on", "off"],
        folded(
            SPEED,
            "Flash attention. Auto is on where a graphics card computes, and off on a processor, "
            "where it halves the speed of long conversations.",
            title="Flash attention",
        ),
    ] = "auto"
    parallel: Annotated[
        int,
        folded(
            SPEED,
            "Replies that are written at once; 0 is 16 with the native engine and 4 with the "
            "prebuilt one. They share the context; what finds no room in it waits.",
            ge=0,
            le=128,
            title="Replies at once",
        ),
    ] = 0

    tensor_split: Annotated[
        str,
        folded(
            CARDS,
            "Shares of the model for each of several cards, like 60,40.",
            wants="numbers with commas between them, like 60,40",
            pattern=r"^([0-9]+(\.[0-9]+)?(, ?[0-9]+(\.[0-9]+)?){0,15})?$",
        ),
    ] = ""
    split_mode: Annotated[
        Literal["layer", "row", "tensor", "none"],
        folded(CARDS, "What several cards divide: whole layers, or rows or tensors of each."),
    ] = "layer"
    main_gpu: Annotated[
        int,
        folded(
            CARDS, "The card that is used where nothing is divided.", ge=0, le=15, title="Main GPU"
        ),
    ] = 0
    no_kv_offload: Annotated[
        bool,
        folded(
            CARDS,
            "Keep conversations in the machine's memory, not on the card.",
            title="No KV offload",
        ),
    ] = False
    cpu_moe: Annotated[
        bool,
        folded(
            CARDS,
            "Keep the experts of a mixture of experts in the machine's memory.",
            title="Experts on the processor",
        ),
    ] = False

    rpc: Annotated[
        tuple[str, ...],
        folded(
            CARDS,
            "Machines that compute a part of the model, one host:port a line; each runs "
            "llama.cpp's rpc-server. Needs the native engine built for RPC, and a network that "
            "is trusted.",
            title="RPC servers",
            max_length=16,
        ),
    ] = ()

    mmap: Annotated[
        bool,
        folded(
            MEMORY,
            "Read the file as it is needed, instead of all of it at first.",
            title="Memory map (mmap)",
        ),
    ] = True
    mlock: Annotated[
        bool,
        folded(
            MEMORY,
            "Forbid the system to move the model to the disk.",
            title="Lock in memory (mlock)",
        ),
    ] = False
    numa: Annotated[
        bool,
        folded(
            MEMORY, "Spread the work over the processors of a machine with several.", title="NUMA"
        ),
    ] = False
    cache_ram: Annotated[
        int,
        folded(
            MEMORY,
            "MiB for what was read of conversations that others have displaced; "
            "it is not read again.",
            ge=0,
            le=1_048_576,
            title="Prefix cache (MiB)",
        ),
    ] = 512

    keep_cache: Annotated[
        bool,
        folded(
            MEMORY,
            "Keep what conversations left on the disk until the next load of the model "
            "(native engine).",
        ),
    ] = True

    streaming_llm: Annotated[
        bool,
        folded(
            LONG,
            "A reply that fills the context goes on: the oldest part is forgotten without "
            "reading the rest again (native engine).",
            title="StreamingLLM",
        ),
    ] = False
    attention_sink_size: Annotated[
        int, folded(LONG, "Tokens at the beginning that always stay then.", ge=0, le=4096)
    ] = 5
    rope_freq_base: Annotated[
        float,
        folded(
            LONG,
            "The base of the rotary embedding; 0 is the model's own.",
            ge=0,
            le=1e10,
            title="RoPE frequency base",
        ),
    ] = 0.0
    alpha_value: Annotated[
        float,
        folded(
            LONG,
            "Stretches the context: 1.75 for half as much again, 2.5 for twice. It sets the base "
            "where that is 0.",
            ge=1,
            le=32,
            title="Alpha value (NTK)",
        ),
    ] = 1.0
    compress_pos_emb: Annotated[
        float,
        folded(
            LONG,
            "Divides positions: the context wanted by the context trained.",
            ge=1,
            le=128,
            title="Position divisor",
        ),
    ] = 1.0

    lora: Annotated[
        tuple[str, ...],
        folded(
            ADDED,
            "LoRA adapters, one GGUF file a line, with a weight if it is not 1: style.gguf = 0.5. "
            "They lie below loras/, or beside the model.",
            max_length=32,
            title="LoRA",
        ),
    ] = ()
    mmproj: Annotated[
        str,
        folded(
            ADDED,
            "The file that lets a model see images, often called mmproj-….gguf. The "
            "prebuilt engine runs the model then.",
            title="Images (mmproj)",
        ),
    ] = ""
    override_kv: Annotated[
        tuple[str, ...],
        folded(
            ADDED,
            "Values that count instead of those in the file, one a line: "
            "tokenizer.ggml.add_bos_token=bool:false (also int, float, str).",
            max_length=64,
            title="Overrides of the file",
        ),
    ] = ()
    engine: Annotated[
        Literal["auto", "native", "prebuilt"],
        folded(
            ADDED,
            "Auto is the one in use (Settings, llama.cpp); where that is the native one, prebuilt "
            "takes the other for this model.",
        ),
    ] = "auto"

    former: ClassVar = FORMER

    @staticmethod
    def modern(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The values by their names of today, and a sentence for each that has no successor."""
        return modern(values)


Form = TypeVar("Form", bound=Options)


def with_flags(said: Mapping[str, Any], kind: type[Form] = Options) -> type[Form]:
    """The same options with other defaults: those of the command line."""
    fields = [
        (info.name, info.type, said.get(info.name, info.default))
        for info in msgspec.structs.fields(kind)
    ]
    return cast(type[Form], msgspec.defstruct("Options", fields, bases=(kind,), frozen=True))


def complete(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options as plain data, with the default of each that is not given."""
    return msgspec.structs.asdict(msgspec.convert(dict(options), Options))
