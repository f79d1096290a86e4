"""Models of PyTorch in a child process, through transformers; requests are decoded together."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from extensions.engine_kit.api import (
    ChatTemplate,
    Stepped,
    TextStream,
    check_folder,
    check_request,
    finish_of,
    from_folder,
    neutral,
    with_defaults,
)
from extensions.transformers.batch import Batch, Row
from extensions.transformers.sampling import HONOURED, Sampler
from extensions.transformers.vocabulary import Vocabulary
from kernel.contract import (
    UNSET,
    Delta,
    Finish,
    Message,
    ModelInfo,
    Output,
    Reason,
    Refused,
    Report,
    Request,
    Timings,
    Token,
    Usage,
)  # fmt: skip
from transformers import AutoConfig, AutoModelForCausalLM  # pyright: ignore

CHUNK = 256
"""Tokens of a prompt that are read between two steps of the others."""
LONGEST = 40
"""Letters of a token: a longer prompt is refused before the time it takes to count it."""
SMALL = 50_000_000
"""Weights; a smaller model loses more by handing work to threads than it gains."""


class Engine:
    concurrent = ("tokenize", "detokenize", "template")

    def __init__(self) -> None:
        self._stepped = Stepped(self._admit, self._step)
        self.submit, self.poll, self.cancel = (
            self._stepped.submit,
            self._stepped.poll,
            self._stepped.cancel,
        )

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        report(0.0, "Checking the files")
        folder = Path(path)
        trust = os.environ.get("SPINDLE_TRUST_REMOTE_CODE") == "1"
        weights = check_folder(folder)
        check_config(folder, trust)
        report(0.1, f"Loading {len(weights):,} tensors")
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
        device = choose_device(options.get("device", "auto"))
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=choose_dtype(options.get("dtype", "auto"), device),
            use_safetensors=True,
            trust_remote_code=trust,
            ignore_mismatched_sizes=True,  # told as loading info, like what is missing
            output_loading_info=True,
        )
        check_loading(folder, loading)
        report(0.9, "Reading the vocabulary")
        self._model = model.to(device).eval()
        if sum(weight.numel() for weight in model.parameters()) < SMALL:
            torch.set_num_threads(1)
        self._batch: Batch[Writer] = Batch(self._model)
        self._vocabulary = Vocabulary(folder, trust)
        self._template = ChatTemplate(self._vocabulary.template, self._vocabulary.special_texts)
        own = getattr(config.get_text_config(), "max_position_embeddings", 0) or 2048
        self._eos = eos_of(self._model, self._vocabulary)
        self._info = ModelInfo(
            name=folder.resolve().name,
            loader="Transformers",
            path=path,
            context_length=min(options.get("context_length", 0) or own, own),
            vocabulary_size=config.get_text_config().vocab_size,
            special_tokens=self._vocabulary.special_ids,
            chat_template=self._vocabulary.template,
            samplers=HONOURED,
            capabilities=("text", "logprobs", "batch"),
            description=f"{config.model_type}, {self._model.dtype}, {device}".replace("torch.", ""),
            defaults=from_folder(folder),
        )
        return self._info

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        """`tokenize(text, special=True)`, `detokenize(token_ids)`, `template(messages, …)`."""
        match name:
            case "tokenize":
                return self._vocabulary.encode(data["text"], data.get("special", True))
            case "detokenize":
                return self._vocabulary.decode(data["token_ids"])
            case "template":
                messages = msgspec.convert(data.pop("messages"), tuple[Message, ...])
                return self._template.render(messages, **data)
            case _:
                raise Refused(f"Transformers knows no call {name!r}.")

    # --- requests ---

    def _admit(self, request: Request) -> "Writer":
        request = with_defaults(request, self._info.defaults)
        check_request(self._info, request)
        if request.messages is not None:
            text = self._template.render(request.messages, request.tools, request.continue_)
        else:
            text = request.prompt or ""
        ids = list(request.token_ids or ())
        if request.token_ids is None:
            if len(text) > self._info.context_length * LONGEST:
                raise Refused(f"The prompt has {len(text):,} characters, far too many.")
            ids = self._vocabulary.encode(text, neutral(request.sampling, "add_bos_token"))
        room = self._info.context_length - len(ids)
        if room < 1:
            raise Refused(
                f"The prompt has {len(ids):,} tokens, and the context of this model "
                f"{self._info.context_length:,}. Shorten it, or load a model with more context."
            )
        if (
            not ids
            or not 0 <= min(ids) <= max(ids) < self._model.config.get_text_config().vocab_size
        ):
            raise Refused("The prompt is empty, or has tokens that this model does not know.")
        return Writer(ids, request, room, self._vocabulary, self._eos, self._template.stops)

    def _step(self, writers: Mapping[int, "Writer"]) -> list[Output]:
        """Write a token of each reply, and read a piece of one prompt."""
        running = set(writers.values())
        self._batch.leave(lambda row: row not in running)
        ids = {writer: id for id, writer in writers.items()}
        outputs: list[Output] = []
        for writer, scores in self._batch.step() if self._batch.rows else ():
            outputs.append(writer.write(ids[writer], scores))
        reading = next((each for each in running if each not in self._batch.rows), None)
        if reading:
            outputs += self._read(ids[reading], reading)
        return outputs

    def _read(self, id: int, writer: "Writer") -> Iterable[Output]:
        scores = self._batch.read(writer, CHUNK)
        yield Output(id, progress=writer.seen / len(writer.ids))
        if writer.seen == len(writer.ids):
            self._batch.join(writer)
            yield writer.write(id, scores)


class Writer(Row):
    """A reply that is being written."""

    def __init__(
        self,
        ids: list[int],
        request: Request,
        room: int,
        vocabulary: Vocabulary,
        eos: frozenset[int],
        stops: tuple[str, ...],
    ) -> None:
        super().__init__(ids)
        sampling = request.sampling
        self._vocabulary, self._eos, self._logprobs = vocabulary, eos, request.logprobs
        self._prompt = len(ids)
        self._sampler = Sampler(sampling, ids, sorted(eos))
        self._stream = TextStream([*neutral(sampling, "custom_stopping_strings"), *stops])
        self._skip = neutral(sampling, "skip_special_tokens")
        limit = sampling.max_new_tokens
        self._limit = room
        if limit is not UNSET and not neutral(sampling, "auto_max_new_tokens"):
            self._limit = min(limit, room)
        self._begun = time.monotonic()
        self._first = 0.0

    def write(self, id: int, scores: torch.Tensor) -> Output:
        """Choose the next token; what is new of this reply."""
        try:
            return self._write(id, scores)
        except Exception as error:
            return Output(id, finish=finish_of(error, self.usage))

    def _write(self, id: int, scores: torch.Tensor) -> Output:
        self._first = self._first or time.monotonic()
        token = self._sampler(self.ids, scores)
        self.ids.append(token)
        data = self._vocabulary.bytes_of(token, self._skip)
        if token in self._eos:
            return Output(id, self._stream.end(), self.finish("stop"))
        tokens = [] if self._logprobs is None else [self._token(token, data, scores)]
        delta, cut_by = self._stream.feed(data, tokens)
        if cut_by:
            return Output(id, delta, self.finish("stop", cut_by))
        if len(self.ids) - self._prompt >= self._limit:
            end = self._stream.end() or Delta()
            delta = delta or Delta()
            whole = Delta(delta.text + end.text, tokens=delta.tokens + end.tokens)
            return Output(id, whole, self.finish("length"))
        return Output(id, delta)

    def _token(self, token: int, data: bytes, scores: torch.Tensor) -> Token:
        logprobs = scores.log_softmax(-1)
        best = logprobs.topk(min(self._logprobs or 0, len(logprobs)))
        top = [
            (self._vocabulary.bytes_of(each, False), value)
            for each, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        return Token(token, data, float(logprobs[token]), tuple(top))

    @property
    def usage(self) -> Usage:
        return Usage(self._prompt, len(self.ids) - self._prompt, self.cached)

    def finish(self, reason: Reason, cut_by: str = "") -> Finish:
        now = time.monotonic()
        read = self._first or now
        return Finish(reason, self.usage, Timings(read - self._begun, now - read), cut_by)


def check_config(folder: Path, trust_remote_code: bool) -> None:
    """Refuse what needs programs of the model's own, or a library that is not here."""
    for name in ("config.json", "tokenizer_config.json"):
        try:
            config = json.loads((folder / name).read_text("utf-8"))
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError) as error:
            raise Refused(f"{name} is damaged ({error}). Download the model again.") from error
        if "auto_map" in json.dumps(config) and not trust_remote_code:
            raise Refused(
                f"{folder.name} brings programs of its own ({name}: auto_map). If you trust who "
                "made it, start Spindle with --trust-remote-code."
            )
        if quantized := config.get("quantization_config"):
            method = quantized.get("quant_method", "unknown") if isinstance(quantized, dict) else ""
            raise Refused(
                f"{folder.name} is quantized ({method}), which this loader cannot run yet. "
                "Look for the original weights, or for a GGUF form of the model."
            )


def check_loading(folder: Path, loading: Mapping[str, Any]) -> None:
    """Weights that were not in the files would be random numbers."""
    for what in ("missing_keys", "mismatched_keys", "error_msgs"):
        if names := sorted(map(str, loading.get(what, ()))):
            raise Refused(
                f"{folder.name} is incomplete: {len(names)} weights do not fit "
                f"({what.replace('_', ' ')}: {', '.join(names[:3])}). Download it again."
            )


def choose_device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise Refused("PyTorch finds no graphics card here. Choose another device.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def choose_dtype(wanted: str, device: str) -> Any:
    """A processor without instructions for 16 bits is a hundred times slower with them."""
    if wanted != "auto":
        return getattr(torch, wanted)
    fast = device != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return "auto" if fast else torch.float32


def eos_of(model: Any, vocabulary: Vocabulary) -> frozenset[int]:
    """Every token that ends a reply, by either of the two files that say so."""
    ids = model.generation_config.eos_token_id
    ids = [ids] if isinstance(ids, int) else list(ids or ())
    if "eos" in vocabulary.special_ids:
        ids.append(vocabulary.special_ids["eos"])
    return frozenset(ids)
