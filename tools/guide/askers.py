# pyright: reportMissingImports=false
"""Ask the guide many questions, greedily, in either of its two forms."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
import xllamacpp
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.guide.samples import CONTEXT

LONGEST = 600
"""Tokens a reply may have: more than the longest stored answer."""

Chat = list[dict[str, str]]


class Asker(Protocol):
    """One form of the guide."""

    name: str

    def ask(self, chats: Sequence[Chat], answers: Sequence[str]) -> Iterator[str]:
        """Yield one reply for each chat, in order.

        A reply that has grown longer than the answers asked for may be cut off there: it is wrong.
        """
        ...


class WithTransformers:
    """The safetensors folder, through plain transformers, in 32 bit."""

    name = "safetensors, transformers"

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def ask(self, chats: Sequence[Chat], answers: Sequence[str]) -> Iterator[str]:
        for start in range(0, len(chats), 128):
            batch = slice(start, start + 128)
            expected = self._tokenizer(list(answers[batch]))["input_ids"]
            inputs = self._tokenizer.apply_chat_template(
                list(chats[batch]),
                add_generation_prompt=True,
                padding=True,
                return_tensors="pt",
                return_dict=True,
            )
            longest = max(map(len, expected)) + 2
            made = self._model.generate(**inputs, do_sample=False, max_new_tokens=longest)
            replies = made[:, inputs["input_ids"].shape[1] :]
            yield from self._tokenizer.batch_decode(replies, skip_special_tokens=True)


class WithLlamaCpp:
    """The GGUF file, through xllamacpp, eight questions at a time."""

    name = "GGUF q8_0, xllamacpp"
    at_once = 8

    def __init__(self, folder: Path, threads: int) -> None:
        library: Any = xllamacpp  # a compiled module, of which a type checker sees nothing
        parameters = library.CommonParams()
        parameters.model.path = str(folder / "guide.gguf")
        parameters.verbosity = 0
        parameters.n_ctx = CONTEXT * self.at_once
        parameters.n_parallel = self.at_once
        parameters.cpuparams.n_threads = threads
        parameters.flash_attn_type = 0
        parameters.api_keys = [secrets.token_urlsafe()]
        self._server = library.Server(parameters)

    def ask(self, chats: Sequence[Chat], answers: Sequence[str]) -> Iterator[str]:
        with ThreadPoolExecutor(self.at_once) as pool:
            yield from pool.map(self._reply, chats)

    def _reply(self, messages: Chat) -> str:
        request = {"messages": messages, "temperature": 0, "max_tokens": LONGEST}
        answer: Any = self._server.handle_chat_completions(request)
        if isinstance(answer, str | bytes):
            answer = json.loads(answer)
        return answer["choices"][0]["message"]["content"] or ""
