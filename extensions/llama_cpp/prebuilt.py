"""llama.cpp in a child process: xllamacpp's own in-process server, which batches what runs."""

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from extensions.engine_kit.api import (
    SPOKEN,
    STOPPED,
    Callbacks,
    ChatTemplate,
    Emit,
    TextStream,
    as_gbnf,
    check_gguf_model,
    check_request,
    free_memory,
    neutral,
    question_of,
    with_defaults,
)
from extensions.llama_cpp.files import describe, settled, token_text
from extensions.llama_cpp.fitting import ran_out
from extensions.llama_cpp.heap import give_back_large
from extensions.llama_cpp.meaning import TOGETHER, loras, together
from extensions.llama_cpp.memory import need, plan
from extensions.llama_cpp.prebuilt_choices import choices, described
from extensions.llama_cpp.prebuilt_costs import Costs
from extensions.llama_cpp.prebuilt_images import content, marked, size
from extensions.llama_cpp.prebuilt_parameters import parameters
from extensions.llama_cpp.prebuilt_reply import Reply, failure, kind
from extensions.llama_cpp.prebuilt_sampling import HONOURED, as_parameters
from extensions.llama_cpp.prebuilt_shares import Shares
from extensions.llama_cpp.prebuilt_vectors import Vectors
from extensions.llama_cpp.refusals import NO_SCORES, instead
from kernel.contract import (
    Capability,
    Finish,
    Message,
    ModelInfo,
    Refused,
    Report,
    Request,
)  # fmt: skip

CARDS = (1, 2)
"""ggml's kinds of devices with a memory or a processor of their own."""
CAPABILITIES = ("text", "logprobs", "grammar", "batch", "embeddings", "tools")
LONGEST = 40
"""Letters of a token: a longer prompt is refused before the time it takes to count it."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses of this machine whatever proxy the user's environment names."""
PATIENCE = 60
"""Seconds that counting tokens may take."""
SAID = b"data: "
"""How a line of a stream begins that tells something."""


class Prebuilt:
    concurrent = ("tokenize", "detokenize", "template", "logits", "pictures")

    def __init__(self) -> None:
        self._use(Callbacks(self._generate, TOGETHER))

    def _use(self, work: Callbacks) -> None:
        self._work = work
        self.submit, self.poll, self.cancel = work.submit, work.poll, work.cancel

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        report(0.0, "Checking the file")
        file = check_gguf_model(path)
        report(0.1, f"Loading {file.size / 1e6:,.0f} MB")
        give_back_large()
        import xllamacpp  # noqa: PLC0415 - a large library, and the header comes first

        self._key = secrets.token_urlsafe()
        devices = xllamacpp.get_device_info()
        free = [each["memory_free"] for each in devices if each["type"].value in CARDS]
        options = settled(file, options, free, prebuilt=True)
        given = parameters(xllamacpp, path, file, options, self._key)
        self._loras = loras(options, path, file)
        self._use(Callbacks(self._generate, together(options)))
        self._shares = Shares(options["context_length"], together(options))
        try:
            self._server = xllamacpp.Server(given)
        except RuntimeError as error:
            wished = plan(file, options, options["context_length"], card=bool(free), prebuilt=True)
            if not free and need(file, wished).total > (left := free_memory()):
                said = ran_out(file, wished, "loading the model", left, loaded=False)
                raise Refused(said) from error
            raise Refused(unloaded(options.get("mmproj", ""))) from error
        self._vectors = Vectors(lambda key: parameters(xllamacpp, path, file, options, key), file)
        more: tuple[Capability, ...] = ("lora",) if self._loras else ()
        self._sees, self._costs = bool(options.get("mmproj")), Costs(self._ask)
        if self._sees:
            more = (*more, "images")
        able = (*CAPABILITIES, *more)
        info = describe(path, file, options, HONOURED, able, together(options))
        ways = instead(images=self._sees, built=find_spec("llama_cpp") is not None)
        self._info = msgspec.structs.replace(info, instead=ways)
        ids = self._info.special_tokens
        tokens = {f"{role}_token": token_text(file, id) for role, id in ids.items()}
        self._template = ChatTemplate(self._info.chat_template, tokens)
        self._bos = tokens.get("bos_token", "")
        return self._info

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> Any:
        """`tokenize(text, special=True, pieces=False)`, `detokenize(token_ids)`,
        `template(messages, …)`, `logits(text or token_ids, sampling, top=25)`, what may come next;
        `embed(texts)`, answering a vector for each; `pictures(sizes)`, the tokens of each;
        `adapters(paths=())`, those the model was loaded with; others are refused."""
        match name:
            case "tokenize":
                text, special = data["text"], data.get("special", True)
                ids = self._tokenize(text, special)
                if not data.get("pieces"):
                    return ids
                known = self._info.special_tokens.values()
                return described(self._ask, text, self._begins(text, special), known)
            case "logits":
                return self._choices(question_of(**data), data.get("top", 25), cancelled)
            case "detokenize":
                return self._ask("/detokenize", tokens=data["token_ids"])["content"]
            case "template":
                messages = msgspec.convert(data.pop("messages"), tuple[Message, ...])
                return self._template.render(messages, **data)
            case "pictures" if self._sees:
                return self._costs.of(data["sizes"])
            case "adapters":
                self._weights([(path, 1.0) for path in data.get("paths", ())])
                return {"own": self._loras, "more": False}
            case "embed":
                return self._vectors.embed(data["texts"], cancelled)
            case "scores":
                raise Refused(NO_SCORES)
            case _:
                raise Refused(f"llama.cpp knows no call {name!r}.")

    def _choices(self, request: Request, top: int, cancelled: Callable[[], bool]) -> dict[str, Any]:
        request = with_defaults(request, self._info.defaults)
        check_request(self._info, request)
        ids = self._ids(request, request.prompt or "")
        if not 0 < len(ids) < self._info.context_length:
            raise Refused(
                f"The prompt has {len(ids):,} tokens, and the context of this model "
                f"{self._info.context_length:,}. Write something, or shorten it."
            )
        given = {**as_parameters(request.sampling, self._info.context_length), "prompt": ids}

        def work() -> dict[str, Any]:
            with self._shares.open() as share:  # It takes room as a reply does.
                if not share.take(len(ids), 1, cancelled):
                    raise Refused(STOPPED)
                return choices(partial(self._hear, cancelled), given, top)

        return self._work.ask(work, cancelled)

    # --- a request, on a thread of its own ---

    def _generate(self, request: Request, emit: Emit) -> Finish:
        request = with_defaults(request, self._info.defaults)
        check_request(self._info, request)
        with self._shares.open(kind(request)) as share:
            mark = f"[{secrets.token_hex(16)}]"
            messages, images = marked(request.messages or (), mark)
            if images:
                request = msgspec.structs.replace(request, messages=messages)
            text = self._text(request)
            prompt = self._ids(request, text.replace(mark, ""))
            pictures = sum(self._costs.of([size(each.data) for each in images]))
            reply = Reply(request, prompt, pictures, self._info.context_length, share, emit)
            stops = neutral(request.sampling, "custom_stopping_strings")
            lead = self._template.lead(request, text)
            reply.stream = TextStream([*stops, *self._template.stops(request)], lead)
            reply.sees = self._sees
            asked = self._asked(request)
            while not reply.reason:
                tail = self._within(reply.said)
                if tokens := reply.turn(len(tail)):
                    now = {**asked, **reply.again(asked), "n_predict": tokens}
                    if self._sees:  # then it takes no tokens, and only a chat takes pictures
                        parts = content(text.removeprefix(self._bos) + reply.said, mark, images)
                        now["messages"] = [{"role": "user", "content": parts}]
                        self._server.handle_chat_completions(now, reply.hear)
                    else:
                        now["prompt"] = [*prompt, *tail]
                        self._server.handle_completions(now, reply.hear)
                    reply.leave()
            return reply.finish()

    def _asked(self, request: Request) -> dict[str, Any]:
        """A reply in llama.cpp's words, but for its prompt and how far it may go now."""
        asked = {
            **as_parameters(request.sampling, self._info.context_length), "stream": True,
            "return_progress": True, "timings_per_token": True, "cache_prompt": True,
            "preserved_tokens": [*SPOKEN],
        }  # fmt: skip
        if request.grammar:
            asked["grammar"] = as_gbnf(request.grammar)
        if self._loras:
            asked["lora"] = self._weights(request.adapters or self._loras)
        if self._sees:
            best = max(request.logprobs or 0, 1)
            return asked | {"reasoning_format": "none", "logprobs": True, "top_logprobs": best}
        best = 0 if request.logprobs is None else max(request.logprobs, 1)
        return asked | {"n_probs": best}

    def _weights(self, adapters: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
        """The weights of one request; those of adapters that it does not name are 0."""
        known = [path for path, _ in self._loras]
        for path, _ in adapters:
            if path not in known:
                raise Refused(
                    f"The prebuilt engine has not loaded {Path(path).name}. Add it to the "
                    "model's options, or build the native engine, which loads adapters at any time."
                )
        return [{"id": known.index(path), "scale": weight} for path, weight in adapters]

    def _text(self, request: Request) -> str:
        if self._sees and request.token_ids is not None:
            return self._ask("/detokenize", tokens=request.token_ids)["content"]
        if request.messages is None:
            return request.prompt or ""
        return self._template.text(request)

    def _ids(self, request: Request, text: str) -> list[int]:
        if request.token_ids is not None:
            return list(request.token_ids)
        return self._tokenize(text, neutral(request.sampling, "add_bos_token"))

    def _tokenize(self, text: str, special: bool) -> list[int]:
        if len(text) > self._info.context_length * LONGEST:
            says = f"The prompt has {len(text):,} characters, far too many for this model."
            raise Refused(f"{says} Shorten it.", "prompt")
        beginning = self._begins(text, special)
        return self._ask("/tokenize", content=text, add_special=beginning)["tokens"]

    def _within(self, text: str) -> list[int]:
        """The tokens of a text that others come before: no space is put at its beginning."""
        if not text:
            return []
        line, both = (self._tokenize(each, special=False) for each in ("\n", "\n" + text))
        begins = both[: len(line)] == line
        return both[len(line) :] if begins else self._tokenize(text, special=False)

    def _begins(self, text: str, special: bool) -> bool:
        """Whether what the model wants first is to be added."""
        return special and not (self._bos and text.startswith(self._bos))

    def _ask(self, path: str, **data: Any) -> Any:
        """What only the server's port on this machine offers."""
        with self._open(path, data, PATIENCE) as answer:
            return json.load(answer)

    def _hear(self, cancelled: Callable[[], bool], **data: Any) -> Iterator[dict[str, Any]]:
        """A completion, piece by piece, however long its prompt is read; raises Refused."""
        data |= {"stream": True, "return_progress": True}
        with self._open("/completion", data, None) as answer:
            for line in answer:
                if cancelled():
                    raise Refused(STOPPED)
                chunk = json.loads(line.removeprefix(SAID)) if line.startswith(SAID) else {}
                if error := chunk.get("error"):
                    raise failure(error)
                yield chunk

    def _open(self, path: str, data: Mapping[str, Any], patience: float | None) -> Any:
        """The key is known to nobody else."""
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(data).encode(),
            {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        try:
            return DIRECT.open(request, timeout=patience)
        except urllib.error.HTTPError as error:
            with error:
                raise failure(json.load(error)["error"]) from error


def unloaded(mmproj: str) -> str:
    """What is said of a model that llama.cpp did not load: it tells its log alone why."""
    with_it = f" with {Path(mmproj).name}" if mmproj else ""
    fits = "An mmproj fits only the model that it came with. Otherwise a" if mmproj else "A"
    return (
        f"llama.cpp could not load it{with_it}. {fits} smaller context length or "
        "fewer GPU layers need less memory. Started with --verbose, Spindle shows in its terminal "
        "what llama.cpp said."
    )
