"""llama.cpp in a child process: xllamacpp's own in-process server, which batches what runs."""

import json
import secrets
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from extensions.engine_kit.api import (
    Callbacks,
    ChatTemplate,
    Emit,
    Gguf,
    TextStream,
    check_request,
    neutral,
    with_defaults,
)
from extensions.llama_cpp.files import (
    SMALL,
    check_model,
    context_length,
    describe,
    threads_for,
    token_text,
)
from extensions.llama_cpp.prebuilt_sampling import HONOURED, as_parameters
from kernel.contract import (
    UNSET,
    Finish,
    Message,
    ModelInfo,
    Reason,
    Refused,
    Report,
    Request,
    Timings,
    Token,
    Usage,
)  # fmt: skip

TOGETHER = 4
"""Requests that are decoded in one step; more wait."""
CAPABILITIES = ("text", "logprobs", "grammar", "batch")
LONGEST = 40
"""Letters of a token: a longer prompt is refused before the time it takes to count it."""
DEEPEST = 100
"""Brackets within brackets in a grammar; llama.cpp's parser overflows its stack at some point."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses of this machine whatever proxy the user's environment names."""
PATIENCE = 60
"""Seconds that counting tokens may take."""


class Prebuilt:
    concurrent = ("tokenize", "detokenize", "template")

    def __init__(self) -> None:
        self._work = Callbacks(self._generate, TOGETHER)
        self.submit, self.poll, self.cancel = (
            self._work.submit,
            self._work.poll,
            self._work.cancel,
        )

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        report(0.0, "Checking the file")
        file = check_model(path)
        report(0.1, f"Loading {file.size / 1e6:,.0f} MB")
        import xllamacpp  # noqa: PLC0415 - a large library, and the header comes first

        self._key = secrets.token_urlsafe()
        try:
            self._server = xllamacpp.Server(parameters(xllamacpp, path, file, options, self._key))
        except RuntimeError as error:
            raise Refused(
                f"llama.cpp could not load {Path(path).name}. Its log says why; a smaller "
                "context length or fewer GPU layers need less memory."
            ) from error
        self._info = describe(path, file, options, HONOURED, CAPABILITIES)
        ids = self._info.special_tokens
        tokens = {f"{role}_token": token_text(file, id) for role, id in ids.items()}
        self._template = ChatTemplate(self._info.chat_template, tokens)
        self._bos = tokens.get("bos_token", "")
        return self._info

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        """`tokenize(text, special=True)`, `detokenize(token_ids)`, `template(messages, …)`."""
        match name:
            case "tokenize":
                return self._tokenize(data["text"], data.get("special", True))
            case "detokenize":
                return self._ask("/detokenize", tokens=data["token_ids"])["content"]
            case "template":
                messages = msgspec.convert(data.pop("messages"), tuple[Message, ...])
                return self._template.render(messages, **data)
            case _:
                raise Refused(f"llama.cpp knows no call {name!r}.")

    # --- a request, on a thread of its own ---

    def _generate(self, request: Request, emit: Emit) -> Finish:
        request = with_defaults(request, self._info.defaults)
        check_request(self._info, request)
        reply = Reply(self._prompt(request), request, self._template.stops, emit)
        room = self._info.context_length - len(reply.prompt)
        if room < 1:
            raise Refused(
                f"The prompt has {len(reply.prompt):,} tokens, and the context of this model "
                f"{self._info.context_length:,}. Shorten it, or load the model with more context."
            )
        limit = request.sampling.max_new_tokens
        if limit is UNSET or neutral(request.sampling, "auto_max_new_tokens"):
            limit = room
        check_grammar(request.grammar)
        asked = {
            **as_parameters(request.sampling, self._info.context_length),
            "prompt": reply.prompt, "n_predict": min(limit, room), "stream": True,
            "return_progress": True, "timings_per_token": True, "cache_prompt": True,
            "n_probs": 0 if request.logprobs is None else max(request.logprobs, 1),
        }  # fmt: skip
        if request.grammar:
            asked["grammar"] = request.grammar
        self._server.handle_completions(asked, reply.hear)
        return reply.finish()

    def _prompt(self, request: Request) -> list[int]:
        if request.token_ids is not None:
            return list(request.token_ids)
        prompt = request.prompt
        if request.messages is not None:
            prompt = self._template.render(request.messages, request.tools, request.continue_)
        bos = neutral(request.sampling, "add_bos_token")
        return self._tokenize(prompt or "", bos)

    def _tokenize(self, text: str, special: bool) -> list[int]:
        if len(text) > self._info.context_length * LONGEST:
            raise Refused(f"The prompt has {len(text):,} characters, far too many for this model.")
        special = special and not (self._bos and text.startswith(self._bos))
        return self._ask("/tokenize", content=text, add_special=special)["tokens"]

    def _ask(self, path: str, **data: Any) -> Any:
        """What only the server's port on this machine offers; the key is known to nobody else."""
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(data).encode(),
            {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        with DIRECT.open(request, timeout=PATIENCE) as answer:
            return json.load(answer)


class Reply:
    """Makes deltas and a finish of the chunks that llama.cpp calls back with."""

    def __init__(
        self, prompt: list[int], request: Request, stops: Sequence[str], emit: Emit
    ) -> None:
        self.prompt, self.emit, self.logprobs = prompt, emit, request.logprobs
        self.stream = TextStream([*neutral(request.sampling, "custom_stopping_strings"), *stops])
        self.reason: Reason = "cancelled"
        self.error = self.cut_by = ""
        self.timings: dict[str, float] = {}

    def hear(self, chunk: dict[str, Any]) -> bool:
        """Whether llama.cpp should stop."""
        if error := chunk.get("error"):
            self.error = str(error["message"])
            return True
        self.timings = chunk.get("timings", self.timings)
        if progress := chunk.get("prompt_progress"):
            return self.emit(progress["processed"] / max(1, progress["total"]))
        choice = chunk["choices"][0]
        tokens = [self.token(each) for each in (choice.get("logprobs") or {}).get("content", ())]
        delta, self.cut_by = self.stream.feed(choice["text"], tokens)
        stopped = self.emit(delta)
        if self.cut_by or choice["finish_reason"]:
            self.reason = "length" if choice["finish_reason"] == "length" else "stop"
        return stopped or bool(self.cut_by)

    def token(self, entry: dict[str, Any]) -> Token:
        top = [(bytes(each["bytes"]), each["logprob"]) for each in entry["top_logprobs"]]
        top = top[: self.logprobs]
        return Token(entry["id"], bytes(entry["bytes"]), entry["logprob"], tuple(top))

    def finish(self) -> Finish:
        if self.error:
            raise Refused(f"llama.cpp refused the request: {self.error.rstrip('.')}.")
        if not self.cut_by:
            self.emit(self.stream.end())
        took = self.timings.get
        return Finish(
            self.reason,
            Usage(len(self.prompt), int(took("predicted_n", 0)), int(took("cache_n", 0))),
            Timings(took("prompt_ms", 0) / 1000, took("predicted_ms", 0) / 1000),
            self.cut_by,
        )


def parameters(xllamacpp: Any, path: str, file: Gguf, options: Mapping[str, Any], key: str) -> Any:
    p = xllamacpp.CommonParams()
    p.model.path = path
    p.n_ctx = context_length(file, options)
    p.n_batch = p.n_ubatch = options.get("batch_size", 512)
    p.n_gpu_layers = options.get("gpu_layers", -1)
    threads = threads_for(options.get("threads", 0), file.size)
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
    p.n_parallel, p.kv_unified = TOGETHER, True  # one user may have all of the context
    if len(xllamacpp.get_device_info()) == 1:  # on a processor flash attention halves the speed
        p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    p.api_keys, p.ui, p.endpoint_slots = [key], False, False
    p.chat_template = "chatml"  # so that it never runs the model's own: a hostile one crashes it
    p.cache_ram_mib, p.verbosity, p.warmup = 512, 1, file.size >= SMALL
    return p


def check_grammar(grammar: str) -> None:
    depth = deepest = 0
    for letter in grammar:
        depth += (letter == "(") - (letter == ")")
        deepest = max(deepest, depth)
    if deepest > DEEPEST or len(grammar) > 200_000:
        raise Refused("The grammar is too large or nested too deeply. Simplify it.")
