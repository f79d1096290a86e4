"""GGUF weights with transformers' samplers: llama.cpp's batching, with another choice of tokens."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from msgspec import UNSET, structs

from extensions.engine_kit.api import Aside, ChatTemplate, Gguf, check_gguf, neutral, with_defaults
from extensions.llama_cpp.api import (
    PIECE,
    Adapters,
    Context,
    Native,
    OutOfMemory,
    Row,
    context_parameters,
    running,
)
from extensions.llamacpp_hf import tokenizer
from extensions.llamacpp_hf.beside import CANDIDATES, Beside
from extensions.llamacpp_hf.chooser import Chooser, wants
from extensions.llamacpp_hf.contrast import Contrast
from extensions.llamacpp_hf.folders import find
from extensions.llamacpp_hf.guidance import Guidance
from extensions.llamacpp_hf.honoured import BESIDE
from extensions.llamacpp_hf.refusals import refuse
from extensions.llamacpp_hf.told import Told
from extensions.transformers.api import HONOURED, Vocabulary
from kernel.contract import ModelInfo, Refused, Report, Request

ENDS = ("eos", "eot")
"""The special tokens that end a reply, by a folder's names."""


class Engine(Native):
    """The native engine of llama.cpp, whose tokens transformers chooses."""

    def __init__(self) -> None:
        super().__init__()
        self._vocabulary: Vocabulary | None = None
        self._encoding = threading.Lock()
        self._beside: Beside | None = None

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> ModelInfo:
        file_path, named = model_in(Path(path)), Path(path)
        path, file = str(file_path), check_gguf(file_path)
        refuse(file, file_path, options)
        folder = find(file_path, file, options.get("tokenizer_dir", ""))
        torch.set_num_threads(1)  # One row is too little to share; llama.cpp needs the processor.
        self._vocabulary = tokenizer.read(folder, file_path, file) if folder else None
        self.reads_itself = not self._vocabulary
        info = super().load(path, options, report)
        if self._vocabulary and not self._model.readable:
            self._teach(self._vocabulary)
        self._beside = None
        if options.get("cfg_cache"):
            report(0.95, "Making room for what is read beside replies")
            self._beside = self._second(options, file)
        template = self._vocabulary.template if self._vocabulary else ""
        special = self._vocabulary.special_ids if self._vocabulary else {}
        if self._vocabulary and template:
            self._template = ChatTemplate(template, self._vocabulary.special_texts)
        self._info = structs.replace(
            info,
            name=named.name if named != file_path else info.name,
            path=str(named),
            loader="llamacpp_HF",
            chat_template=template or info.chat_template,
            special_tokens=info.special_tokens or special,
            samplers=(*HONOURED, *BESIDE),
        )
        return self._info

    def _teach(self, vocabulary: Vocabulary) -> None:
        """Let the model know its tokens by a folder's tokenizer, as its file has none."""
        ids = range(self._model.vocabulary_size)
        if len(ids) < len(vocabulary.tokens):
            raise Refused(
                f"The file has {len(ids):,} tokens, and the tokenizer {len(vocabulary.tokens):,}: "
                "it is that of another model. Choose another folder."
            )
        ends = [vocabulary.special_ids[name] for name in ENDS if name in vocabulary.special_ids]
        self._model.learn(
            [vocabulary.bytes_of(id) for id in ids],
            [vocabulary.bytes_of(id, False) for id in ids],
            frozenset(ends),
        )

    # --- what differs from llama.cpp's engine ---

    def _row(self, id: int, request: Request) -> Row:
        request = with_defaults(request, self._info.defaults)
        guided, _ = wants(request.sampling)
        if guided:
            request = self._bounded(request)
        return super()._row(id, request)

    def _bounded(self, request: Request) -> Request:
        """At most as many tokens as there is room for after the negative prompt."""
        negative = len(self._negative(request))
        room = self._info.context_length - negative
        if room < 1:
            raise Refused(
                f"The negative prompt has {negative:,} tokens, and the context of this model "
                f"{self._info.context_length:,}. Shorten it."
            )
        limit = request.sampling.max_new_tokens
        limit = room if limit is UNSET else min(limit, room)
        sampling = structs.replace(
            request.sampling, max_new_tokens=limit, auto_max_new_tokens=False
        )
        return structs.replace(request, sampling=sampling)

    def _negative(self, request: Request) -> list[int]:
        text = neutral(request.sampling, "negative_prompt")
        return self._tokenize(text, neutral(request.sampling, "add_bos_token")) if text else []

    def _chooser(self, request: Request, prompt: Sequence[int]) -> Chooser:
        sampling = request.sampling
        guided, contrasted = wants(sampling)
        guidance = contrast = None
        adapters = request.adapters or self._adapters
        if guided:
            beside = self._needs("Guidance (guidance_scale)")
            negative = self._negative(request) or prompt[-1:]
            scale = neutral(sampling, "guidance_scale")
            guidance = Guidance(beside, scale, negative, adapters)
        if contrasted:
            beside = self._needs("Contrastive search (penalty_alpha)")
            alpha, count = neutral(sampling, "penalty_alpha"), neutral(sampling, "top_k")
            contrast = Contrast(beside, alpha, count, prompt, adapters)
        return Chooser(self._model, request, prompt, self._within, guidance, contrast)

    def _explained(self, request: Request, prompt: Sequence[int], aside: Aside, top: int) -> Told:
        return Told(self._chooser(request, prompt), self._model, aside, top)

    def _within(self, text: str) -> list[int]:
        return self._encode(text, False)

    def _encode(self, text: str, special: bool) -> list[int]:
        if not self._vocabulary:
            return super()._encode(text, special)
        with self._encoding:
            return self._vocabulary.encode(text, special)

    def _needs(self, what: str) -> Beside:
        if not self._beside:
            raise Refused(f"{what} needs memory of its own. Load the model with cfg_cache.")
        return self._beside

    def _second(self, options: Mapping[str, Any], file: Gguf) -> Beside:
        given = context_parameters(options, file.size, file)
        given["sequences"] = CANDIDATES + running(options)
        given["n_ubatch"] = min(given["n_ubatch"], PIECE)  # It never reads more at once.
        cells = self._info.context_length + CANDIDATES
        try:
            context = Context(self._model, self._log, cells=cells, pooling_type=0, **given)
        except OutOfMemory as error:
            raise Refused(
                f"There is not enough memory for a second context of {cells:,} tokens ({error}). "
                "Load the model with less context, or without cfg_cache."
            ) from error

        def use(adapters: Adapters) -> None:
            context.use_adapters([(self._loras.get(path), weight) for path, weight in adapters])

        return Beside(context, use)


def model_in(path: Path) -> Path:
    """The GGUF file of a folder, or the file itself."""
    if path.is_file():
        return path
    files = sorted(path.glob("*.gguf"))
    if len(files) != 1:
        raise Refused(f"{path.name} holds {len(files)} GGUF files. Choose one of them.")
    return files[0]
