"""Models of PyTorch in a child process, through transformers; requests are decoded together."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from extensions.engine_kit.api import (
    Asides,
    ChatTemplate,
    Entry,
    Stepped,
    check_folder,
    check_request,
    finish_of,
    from_folder,
    neutral,
    question_of,
    with_defaults,
)
from extensions.transformers.adapters import Loras
from extensions.transformers.answerer import Answerer, Question
from extensions.transformers.batch import Batch, Row
from extensions.transformers.configs import check_config
from extensions.transformers.constraint import Grammars
from extensions.transformers.faults import explained
from extensions.transformers.guidance import LONGEST, Guidance, guidance
from extensions.transformers.honoured import HONOURED
from extensions.transformers.processes import Tokens
from extensions.transformers.vocabulary import Vocabulary
from extensions.transformers.weighing import fast_formats, number_format, read
from extensions.transformers.writer import Writer
from kernel.contract import Message, ModelInfo, Output, Refused, Report, Request
from transformers import AutoConfig, AutoModelForCausalLM  # pyright: ignore

CAPABILITIES = ("text", "logits", "logprobs", "grammar", "lora", "batch", "tools")
CHUNK = 256
"""Tokens of prompts that are read between two steps of the replies."""
TOO_MANY = "Use fewer adapters, or load the model with a shorter context."
TOO_LONG = "Send a shorter prompt, or load the model with a shorter context."
SPARE = 10_000_000
"""Weights that may be missing in the files of a model until its load says so."""
HELD = 1 << 30
"""Numbers that a model may keep beside its weights, such as the masks of its context."""
SMALL = 50_000_000
"""Weights; a smaller model loses more by handing work to threads than it gains."""


class Prepared(NamedTuple):
    """A request with the model's defaults, and its prompt: a template may take its time for that,
    which the replies under way do not wait for."""

    wish: Request | Question
    request: Request
    text: str | None


class Engine:
    concurrent = ("tokenize", "detokenize", "template", "logits")

    def __init__(self) -> None:
        self._stepped = Stepped(self._admit, self._step, self._prepare)
        self._asides = Asides()
        self.submit, self.cancel = self._stepped.submit, self._stepped.cancel

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        report(0.0, "Checking the files")
        folder = Path(path)
        trust = os.environ.get("SPINDLE_TRUST_REMOTE_CODE") == "1"
        weights = check_folder(folder)
        check_config(folder, trust)
        report(0.1, f"Loading {len(weights):,} tensors")
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        device = choose_device(options.get("device", "auto"))
        check_size(folder, config, weights, trust)
        with explained("loading the model", device, too_large(folder)):
            model, loading = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=choose_dtype(options.get("dtype", "auto"), device, folder),
                use_safetensors=True,
                trust_remote_code=trust,
                ignore_mismatched_sizes=True,  # told as loading info, like what is missing
                output_loading_info=True,
            )
            check_loading(folder, loading)
            report(0.9, "Reading the vocabulary")
            self._model = model.to(device).eval()
        torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every length: 40 ms a token
        if sum(weight.numel() for weight in model.parameters()) < SMALL:
            torch.set_num_threads(1)
        self._loras = Loras(self._model)
        self._batch: Batch[Row] = Batch(self._model, self._loras.use)
        self._vocabulary = Vocabulary(folder, trust)
        self._template = ChatTemplate(self._vocabulary.template, self._vocabulary.special_texts)
        own = getattr(config.get_text_config(), "max_position_embeddings", 0) or 2048
        self._tokens = Tokens(
            config.get_text_config().vocab_size,
            eos_of(self._model, self._vocabulary),
            self._model.device,
            lambda text: self._vocabulary.encode(text, False),
        )
        self._grammars = Grammars(self._vocabulary, self._tokens.size, self._tokens.ends)
        self._info = ModelInfo(
            name=folder.absolute().name,
            loader="Transformers",
            path=path,
            context_length=min(options.get("context_length", 0) or own, own),
            vocabulary_size=config.get_text_config().vocab_size,
            special_tokens=self._vocabulary.special_ids,
            chat_template=self._vocabulary.template,
            samplers=HONOURED,
            capabilities=CAPABILITIES,
            description=f"{config.model_type}, {self._model.dtype}, {device}".replace("torch.", ""),
            defaults=from_folder(folder),
        )
        return self._info

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        """`tokenize(text, special=True, pieces=False)`, `detokenize(token_ids)`,
        `template(messages, …)`; `logits(text or token_ids, sampling, top=25)`, what may come
        next; `adapters(paths=())` reads these, and tells that more can come at any time."""
        match name:
            case "tokenize":
                ids = self._vocabulary.encode(data["text"], data.get("special", True))
                return self._vocabulary.described(ids) if data.get("pieces") else ids
            case "logits":
                request, top = question_of(**data), data.get("top", 25)
                return self._asides.ask(
                    lambda aside: self.submit(aside.id, Question(request, aside, top)),
                    self.cancel,
                    cancelled,
                )
            case "detokenize":
                return self._vocabulary.decode(data["token_ids"])
            case "adapters":
                self._read_adapters(data.get("paths", ()))
                return {"own": [], "more": True}
            case "template":
                messages = msgspec.convert(data.pop("messages"), tuple[Message, ...])
                return self._template.render(messages, **data)
            case _:
                raise Refused(f"Transformers knows no call {name!r}.")

    # --- requests ---

    def poll(self, timeout: float) -> Sequence[Output]:
        with self._explained("writing a reply"):
            return self._asides.without(self._stepped.poll(timeout))

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return explained(doing, self._model.device.type, TOO_LONG)

    def _read_adapters(self, paths: Iterable[str]) -> None:
        with explained("reading an adapter", self._model.device.type, TOO_MANY):
            for path in paths:
                self._loras.get(path)

    def _prepare(self, wish: Request | Question) -> Prepared:
        request = wish.request if isinstance(wish, Question) else wish
        request = with_defaults(request, self._info.defaults)
        check_request(self._info, request)
        said = request.messages is not None
        return Prepared(wish, request, self._template.text(request) if said else request.prompt)

    def _admit(self, prepared: Prepared) -> Writer:
        wish, request, text = prepared.wish, prepared.request, prepared.text or ""
        self._read_adapters(path for path, _ in request.adapters)
        ids = list(request.token_ids or ())
        if request.token_ids is None:
            if len(text) > self._info.context_length * LONGEST:
                says = f"The prompt has {len(text):,} characters, far too many for this model."
                raise Refused(f"{says} Shorten it.", "prompt")
            ids = self._vocabulary.encode(text, neutral(request.sampling, "add_bos_token"))
        room = self._info.context_length - len(ids)
        if room < 1:
            raise Refused(
                f"The prompt has {len(ids):,} tokens, and the context of this model "
                f"{self._info.context_length:,}. Shorten it, or load a model with more context.",
                "prompt",
            )
        if not ids or not self._knows(ids):
            raise Refused("The prompt is empty, or has tokens that this model does not know.")
        guided = guidance(request, ids, self._vocabulary, self._info.context_length)
        if guided:
            if not self._knows(guided.ids):
                raise Refused(
                    "The negative prompt has tokens that this model does not know. Write it "
                    "without special tokens."
                )
            room = min(room, self._info.context_length - len(guided.ids))
        given = (
            *(ids, request, room, self._vocabulary, self._tokens),
            self._template.stops(request),
            self._grammars.constraint(request.grammar),
        )
        with self._explained("reading a prompt"):
            asks = isinstance(wish, Question)
            writer = Answerer(wish, *given) if asks else Writer(*given)
        writer.guidance = guided
        writer.stream.lead = self._template.lead(request, text)
        return writer

    def _knows(self, ids: Sequence[int]) -> bool:
        """A tokenizer may have more than its model, and at those a graphics card fails for good."""
        return 0 <= min(ids) <= max(ids) < self._tokens.size

    def _step(self, writers: Mapping[int, Writer]) -> list[Output]:
        """Write a token of each reply, and read a piece of the prompts."""
        running = {row for writer in writers.values() for row in writer.rows}
        self._batch.leave(lambda row: row not in running)
        ids = {writer: id for id, writer in writers.items()}
        outputs: list[Output] = []
        stepped = self._batch.step() if self._batch.rows else ()
        for row, scores in stepped:
            if isinstance(row, Guidance):
                row.scores = scores
        for row, scores in stepped:
            if isinstance(row, Writer):
                outputs.append(self._write(ids[row], row, scores))
        unread = [writer for writer in ids if writer not in self._batch.rows]
        return [*outputs, *self._read_some(unread, ids)] if unread else outputs

    def _read_some(self, unread: Sequence[Writer], ids: Mapping[Writer, int]) -> Iterable[Output]:
        """Those with the fewest tokens left come first, so that a short one waits for no long one;
        half is kept for the oldest, so that it ends while short ones come all the time."""
        oldest, *others = unread
        kept = min(oldest.left, CHUNK // 2)
        left = CHUNK - kept
        for writer in (*sorted(others, key=lambda each: each.left), oldest):
            left += kept if writer is oldest else 0
            if left > 0:
                row = writer.unread
                before = row.seen
                yield from self._read(ids[writer], writer, row, left)
                left -= row.seen - max(before, row.cached)

    def _read(self, id: int, writer: Writer, row: Row, count: int) -> Iterable[Output]:
        try:
            with self._explained("reading a prompt"):
                scores = self._batch.read(row, count)
                if writer.seen == len(writer.ids):
                    self._join(writer)
        except Exception as error:  # it is this reply's alone
            yield Output(id, finish=finish_of(error, writer.usage))
            return
        if isinstance(row, Guidance):
            row.scores = scores
            return
        yield Output(id, progress=writer.seen / len(writer.ids))
        if writer.seen == len(writer.ids):
            yield self._write(id, writer, scores)

    def _join(self, writer: Writer) -> None:
        beside = (row.adapters for row in self._batch.rows)
        self._loras.check_beside(writer.adapters, beside)
        if not isinstance(writer, Answerer):
            for each in writer.rows:
                self._batch.join(each)

    def _write(self, id: int, writer: Writer, scores: torch.Tensor) -> Output:
        try:
            with self._explained("writing a reply"):
                output = writer.write(id, scores)
                for row in writer.rows:
                    if row.seen >= len(row.ids) and not output.finish:
                        self._batch.take_back(row)
                return output
        except Exception as error:
            return Output(id, finish=finish_of(error, writer.usage))


WRONG = {
    "missing_keys": "is incomplete, weights are not in its files",
    "mismatched_keys": "is damaged, weights have other shapes than its config.json says",
    "error_msgs": "is damaged, weights cannot be read",
}
"""What transformers tells of a load, and what it means."""


def check_size(folder: Path, config: Any, weights: Mapping[str, Entry], trust: bool) -> None:
    """Refuse a configuration of far more than the files hold before memory is taken for that."""
    there = sum(math.prod(entry.shape) for entry in weights.values())
    says = f"{folder.name} is incomplete: its configuration asks for {{}}. Download it again."
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > len(weights):
        raise Refused(
            says.format(f"{layers:,} layers, and its files have {len(weights):,} tensors")
        )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
        wanted = sum(weight.numel() for weight in model.parameters())
        held = sum(buffer.numel() for buffer in model.buffers())
    except Exception:  # What cannot be made without its weights says why when it is loaded.
        return
    if wanted > 2 * there + SPARE or held > 2 * there + HELD:  # Tied weights may be there twice.
        asks = max(wanted, held)
        raise Refused(says.format(f"{asks:,} weights, and its files have {there:,}"))


def check_loading(folder: Path, loading: Mapping[str, Any]) -> None:
    """Weights that were not in the files would be random numbers."""
    for what, why in WRONG.items():
        if names := sorted(map(str, loading.get(what, ()))):
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            raise Refused(f"{folder.name} {why}: {', '.join(names[:3])}{more}. Download it again.")


def too_large(folder: Path) -> str:
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return (
        f"Its files have {size / 1e9:.1f} GB. Choose a smaller model, another device, or close "
        "what else uses this memory."
    )


def choose_device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise Refused("PyTorch finds no graphics card here. Choose another device.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def choose_dtype(wanted: str, device: str, folder: Path) -> Any:
    """The files' own; but a processor without instructions for those 16 bits is up to a hundred
    times slower with them: float16 by bfloat16's, for one, reads a prompt at a third of the speed
    of 32 bits."""
    if device != "cpu" and wanted == "auto":
        return "auto"
    return getattr(torch, number_format(read(folder), wanted, fast_formats()))


def eos_of(model: Any, vocabulary: Vocabulary) -> frozenset[int]:
    """Every token of the model that ends a reply, by either of the two files that say so."""
    ids = model.generation_config.eos_token_id
    ids = [ids] if isinstance(ids, int) else list(ids or ())
    if "eos" in vocabulary.special_ids:
        ids.append(vocabulary.special_ids["eos"])
    size = model.config.get_text_config().vocab_size
    return frozenset(id for id in ids if id is not None and 0 <= id < size)
