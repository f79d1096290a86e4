"""The native engine: a model, a context, a batcher; requests in, outputs of each step out."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from extensions.engine_kit.api import (
    Aside,
    Asides,
    Bans,
    ChatTemplate,
    TextStream,
    as_gbnf,
    check_gguf_model,
    check_request,
    finish_of,
    free_memory,
    neutral,
    question_of,
    with_defaults,
)
from extensions.llama_cpp.files import describe, settled, token_text
from extensions.llama_cpp.fitting import ran_out
from extensions.llama_cpp.honoured import HONOURED
from extensions.llama_cpp.meaning import loras
from extensions.llama_cpp.memory import plan
from extensions.llama_cpp.native import cards, library
from extensions.llama_cpp.native.adapters import Loras
from extensions.llama_cpp.native.batcher import Batcher
from extensions.llama_cpp.native.chain import Chain
from extensions.llama_cpp.native.context import Context, OutOfMemory
from extensions.llama_cpp.native.embedder import Embedder
from extensions.llama_cpp.native.explained import Explained
from extensions.llama_cpp.native.parameters import context_parameters, model_parameters, running
from extensions.llama_cpp.native.prefixes import Prefixes
from extensions.llama_cpp.native.remote import connect
from extensions.llama_cpp.native.row import Chooser, Row
from extensions.llama_cpp.native.scored import Scored
from extensions.llama_cpp.native.states import fingerprint, load, save
from kernel.contract import UNSET, Message, ModelInfo, Output, Refused, Report, Request

LONGEST = 40
"""Letters of a token: a longer prompt is refused before the time it takes to count it."""
CAPABILITIES = (
    "text", "logits", "logprobs", "grammar", "lora", "batch", "state", "embeddings", "processors",
    "tools",
)  # fmt: skip
SHAPING = ("cache_type", "rope_freq_base", "alpha_value", "compress_pos_emb", "override_kv", "lora")
"""Options that change what the model remembers: states of others do not fit."""
READERS = 2
"""Threads that make tokens of prompts."""


class Native:
    """llama.cpp with our own batcher; see kernel.contract.Engine."""

    concurrent = ("tokenize", "detokenize", "template", "logits", "scores")
    reads_itself = True
    """Whether the model's own tokenizer is needed; an engine beside this one may bring another."""

    def __init__(self) -> None:
        self._ready: queue.SimpleQueue[Row | Output] = queue.SimpleQueue()
        self._news = threading.Event()
        self._readers = ThreadPoolExecutor(READERS)
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()
        self._asides = Asides()

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        report(0.0, "Checking the file")
        file = check_gguf_model(path)
        self._adapters = loras(options, path, file)
        self._log = library.start(options.get("numa", False))
        connect(options.get("rpc", ()))
        free = cards.free()
        options = settled(file, options, free)
        self._info = describe(path, file, options, HONOURED, CAPABILITIES, running(options))
        limit, megabytes = self._info.context_length, f"{file.size / 1e6:,.0f} MB"
        wished = plan(file, options, limit, card=bool(free))
        self._ran_out = lambda moment, loaded: ran_out(
            file, wished, moment, free_memory(), loaded=loaded
        )
        moment = "loading the weights"
        try:
            self._model = library.Model.load(
                path,
                self._log,
                lambda share: report(0.1 + 0.8 * share, f"Loading {megabytes}"),
                **model_parameters(options),
            )
            if self.reads_itself and not self._model.readable:
                raise Refused(
                    f"{Path(path).name} has no tokenizer of its own. Load it with llamacpp_HF and "
                    "the folder that holds the model's."
                )
            report(0.9, "Making room for conversations")
            moment = f"making room for a context of {limit:,} tokens"
            self._context = Context(
                self._model, self._log, cells=limit, **context_parameters(options, file.size, file)
            )
        except OutOfMemory as error:
            raise Refused(self._ran_out(moment, loaded=False)) from error
        prefixes = Prefixes(
            self._context,
            running=running(options),
            memory=options.get("cache_ram", 512) << 20,
            shifts=options.get("streaming_llm", False),
        )
        keep = options.get("attention_sink_size", 5) if options.get("streaming_llm") else -1
        self._prefixes, self._loras = prefixes, Loras(self._model, self._context, self._log, file)
        self._batcher = Batcher(self._context, prefixes, self._loras.use, keep=keep, limit=limit)
        for adapter, _ in self._adapters:
            self._loras.get(adapter)
        self._embedder = Embedder(self._model, self._log, options, file, limit)
        given = {name: value for name, value in options.items() if name in SHAPING}
        self._fingerprint = fingerprint(path, sorted(given.items()))
        ids = self._info.special_tokens
        tokens = {f"{role}_token": token_text(file, id) for role, id in ids.items()}
        self._template = ChatTemplate(self._info.chat_template, tokens)
        self._bos = tokens.get("bos_token", "")
        start(self._readers, READERS)
        return self._info

    # --- requests, from the reader's thread ---

    def submit(self, id: int, request: Request) -> None:
        self._readers.submit(self._prepare, id, request)

    def cancel(self, id: int) -> None:
        with self._lock:
            self._cancelled.add(id)
        self._batcher.cancel(id)
        self._news.set()

    def poll(self, timeout: float) -> Sequence[Output]:
        if not self._batcher.busy and self._ready.empty():
            self._news.wait(timeout)
        if self._news.is_set():
            self._news.clear()
        outputs = self._take()
        outputs += self._step()
        if self._cancelled:
            with self._lock:
                self._cancelled.difference_update(each.id for each in outputs if each.finish)
        return self._asides.without(outputs)

    def _step(self) -> Sequence[Output]:
        if not self._batcher.busy:
            return ()
        try:
            return self._batcher.step()
        except OutOfMemory as error:
            return self._batcher.end(self._ran_out(str(error), loaded=True))
        except MemoryError:
            return self._batcher.end(self._ran_out("writing a reply", loaded=True))
        except Exception as error:
            return self._batcher.end(finish_of(error).error)

    def rest(self) -> bool:
        return not self._batcher.busy and self._prefixes.rest()

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        """`tokenize(text, special=True, pieces=False)`, `detokenize(token_ids)`,
        `template(messages, …)`; `logits(text or token_ids, sampling, top=25)`, what may come next;
        `scores(text or token_ids, top=0, adapters=())`, see scored.py; `save(folder)` and
        `restore(folder)` what conversations left, answering how many; `embed(texts)`, answering a
        vector for each; `adapters(paths=())` reads these, and tells with which the model was
        loaded, and that more can come at any time."""
        match name:
            case "tokenize":
                ids = self._tokenize(data["text"], data.get("special", True))
                return self._model.described(ids) if data.get("pieces") else ids
            case "logits":
                begin = partial(self._consider, question_of(**data), data.get("top", 25))
                return self._asides.ask(begin, self.cancel, cancelled)
            case "detokenize":
                return self._model.detokenize(data["token_ids"])
            case "template":
                messages = msgspec.convert(data.pop("messages"), tuple[Message, ...])
                return self._template.render(messages, **data)
            case "embed":
                return self._embedder.embed(data["texts"], cancelled)
            case "adapters":
                for path in data.get("paths", ()):
                    self._loras.get(path)
                return {"own": self._adapters, "more": True}
            case "save":
                file = self._states(data["folder"])
                return save(file, self._prefixes.remembered(), self._loras.stamp)
            case "restore":
                return self._restore(self._states(data["folder"]))
            case "scores":
                return self._asides.ask(partial(self._score, data), self.cancel, cancelled)
            case _:
                raise Refused(f"llama.cpp knows no call {name!r}.")

    def _consider(self, request: Request, top: int, aside: Aside) -> None:
        """Let a question take part in the steps, as a request that ends with its first token."""
        request = with_defaults(request, self._info.defaults)
        check_request(self._info, request)
        prompt = self._fitting(self._prompt(request)[0])
        given = aside.id, prompt, self._explained(request, prompt, aside, top), TextStream([])
        self._ready.put(Row(*given, limit=1, adapters=self._adapters))
        self._news.set()

    def _score(self, data: Mapping[str, Any], aside: Aside) -> None:
        """Let a text take part in the steps, of which every token's likelihood is wanted."""
        ids = data.get("token_ids")
        if ids is None:
            ids = self._tokenize(data["text"], data.get("special", True))
        self._model.check(ids)
        context, top = self._info.context_length, data.get("top", 0)
        if not ids:
            raise Refused("The text is empty. Send one.")
        if len(ids) > context:
            says = f"The text has {len(ids):,} tokens, and the context of this model {context:,}."
            raise Refused(f"{says} Read it in parts.", "prompt")
        if not 0 <= top <= self._model.vocabulary_size:
            raise Refused(f"There are no {top:,} tokens to tell of. Ask for fewer.")
        adapters = tuple((path, weight) for path, weight in data.get("adapters", ()))
        self._ready.put(Scored(aside, ids, adapters or self._adapters, top))
        self._news.set()

    def _explained(
        self, request: Request, prompt: Sequence[int], aside: Aside, top: int
    ) -> Chooser:
        """What tells how the first token is chosen; an engine beside this one has its own."""
        most = self._info.context_length
        return Explained(self._model, request.sampling, prompt, aside, top=top, most=most)

    def _states(self, folder: str) -> Path:
        return Path(folder) / f"{self._fingerprint}.states"

    def _restore(self, file: Path) -> int:
        count = 0
        for tokens, adapters, state in load(file):
            self._prefixes.remember(tokens, adapters, state)
            count += 1
        return count

    # --- what becomes of a request ---

    def _prepare(self, id: int, request: Request) -> None:
        """Everything that takes time and needs no context: templates, tokens, samplers."""
        try:
            self._ready.put(self._row(id, request))
        except Exception as error:
            self._ready.put(Output(id, finish=finish_of(error)))
        self._news.set()

    def _take(self) -> list[Output]:
        outputs: list[Output] = []
        while not self._ready.empty():
            row = self._ready.get()
            if isinstance(row, Output):
                outputs.append(row)
                continue
            with self._lock:
                cancelled = row.id in self._cancelled
            if cancelled:
                row.chooser.close()
                outputs.append(row.finish("cancelled"))
                continue
            try:
                for path, _ in row.adapters:
                    self._loras.get(path)
                self._batcher.add(row)
            except Exception as error:
                row.chooser.close()
                end = finish_of(error)
                outputs.append(row.finish("error", end.error, end.refused))
        return outputs

    def _row(self, id: int, request: Request) -> Row:
        request = with_defaults(request, self._info.defaults)
        check_request(self._info, request)
        sampling, (prompt, lead) = request.sampling, self._prompt(request)
        prompt = self._fitting(prompt)
        context = self._info.context_length
        limit = sampling.max_new_tokens
        if limit is UNSET or neutral(sampling, "auto_max_new_tokens"):
            limit = context
        stops = [*neutral(sampling, "custom_stopping_strings"), *self._template.stops(request)]
        banned = neutral(sampling, "extra").get("banned_strings", ())
        return Row(
            id,
            prompt,
            self._chooser(request, prompt),
            TextStream(stops, lead),
            limit=limit,
            adapters=request.adapters or self._adapters,
            logprobs=request.logprobs,
            special=not neutral(sampling, "skip_special_tokens"),
            endless=neutral(sampling, "ban_eos_token") and not request.grammar,
            bans=Bans(banned) if banned else None,
            secret=request.incognito,
        )

    def _chooser(self, request: Request, prompt: Sequence[int]) -> Chooser:
        """What chooses the tokens of a reply; an engine beside this one has its own."""
        grammar, most = as_gbnf(request.grammar), self._info.context_length
        return Chain(self._model, request, prompt, grammar=grammar, most=most)

    def _prompt(self, request: Request) -> tuple[Sequence[int], str]:
        """Its tokens, and what of the reply it has begun already."""
        if request.token_ids is not None:
            self._model.check(request.token_ids)
            return request.token_ids, ""
        prompt = request.prompt or ""
        if request.messages is not None:
            prompt = self._template.text(request)
        tokens = self._tokenize(prompt, neutral(request.sampling, "add_bos_token"))
        return tokens, self._template.lead(request, prompt)

    def _fitting(self, prompt: Sequence[int]) -> Sequence[int]:
        """A prompt that the context has room for; raises Refused."""
        context = self._info.context_length
        if not prompt:
            raise Refused("The prompt is empty. Write something.")
        if len(prompt) >= context:
            raise Refused(
                f"The prompt has {len(prompt):,} tokens, and the context of this model "
                f"{context:,}. Shorten it, or load the model with more context.",
                "prompt",
            )
        return prompt

    def _tokenize(self, text: str, special: bool) -> list[int]:
        if len(text) > self._info.context_length * LONGEST:
            says = f"The prompt has {len(text):,} characters, far too many for this model."
            raise Refused(f"{says} Shorten it.", "prompt")
        return self._encode(text, special)

    def _encode(self, text: str, special: bool) -> list[int]:
        beginning = special and not (self._bos and text.startswith(self._bos))
        return self._model.tokenize(text, beginning=beginning)


def start(pool: ThreadPoolExecutor, count: int) -> None:
    """Let a pool have its threads now: where memory has run out, none can be had any more."""
    together = threading.Barrier(count)
    for _ in range(count):
        pool.submit(together.wait)
