"""A model's tokenizer: text to ids, and every id to its very bytes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extensions.engine_kit.api import SPOKEN
from kernel.contract import Refused
from transformers import AutoTokenizer  # pyright: ignore
from transformers.convert_slow_tokenizer import bytes_to_unicode


class Vocabulary:
    def __init__(self, folder: Path, trust_remote_code: bool) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        decoder = json.dumps(json.loads(backend.decoder.__getstate__())) if backend else ""
        self._letters = {letter: byte for byte, letter in bytes_to_unicode().items()}
        self._byte_level, self._pieces = "ByteLevel" in decoder, "\\u2581" in decoder
        self._known: dict[int, bytes] = {}
        added = self._tokenizer.added_tokens_decoder
        self._added = {id: token.content for id, token in added.items()}
        self._special = set(self._tokenizer.all_special_ids)
        self._special |= {id for id, token in added.items() if token.special}
        self._special -= {id for id, text in self._added.items() if text in SPOKEN}
        names = self._tokenizer.special_tokens_map
        self.special_texts = {name: text for name, text in names.items() if isinstance(text, str)}
        self.special_ids = {
            name.removesuffix("_token"): self._tokenizer.convert_tokens_to_ids(text)
            for name, text in self.special_texts.items()
        }
        self.template = self._template()

    def encode(self, text: str, special: bool) -> list[int]:
        """The ids of a text; with the model's beginning where it has one and there is none."""
        begin = self.special_texts.get("bos_token", "")
        special = special and not (begin and text.startswith(begin))
        try:
            return list(self._tokenizer(text, add_special_tokens=special).input_ids)
        except BaseException as error:  # A panic in Rust is no Exception, and would end the worker.
            if type(error).__name__ != "PanicException":
                raise
            raise Refused(
                "The model's tokenizer fails at this text, as one with a pattern that takes for "
                "ever does. Download the model again, or use another."
            ) from error

    def described(self, ids: Sequence[int]) -> list[tuple[int, bytes, bool]]:
        """Each token, its bytes, and whether it is special."""
        return [(id, self.bytes_of(id, False), id in self._special) for id in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids))

    @property
    def tokens(self) -> dict[str, int]:
        """Every token as the tokenizer writes it, with its id."""
        return self._tokenizer.get_vocab()

    def bytes_of(self, id: int, skip_special: bool = True) -> bytes:
        """The bytes that a token stands for inside a text."""
        if skip_special and id in self._special:
            return b""
        if id not in self._known:
            self._known[id] = self._bytes(id)
        return self._known[id]

    def _bytes(self, id: int) -> bytes:
        if id in self._added:
            return self._added[id].encode()
        piece = self._tokenizer.convert_ids_to_tokens(id) or ""
        if self._byte_level:
            return bytes(self._letters[letter] for letter in piece if letter in self._letters)
        if self._pieces:
            if len(piece) == 6 and piece.startswith("<0x"):
                return bytes([int(piece[3:5], 16)])
            return piece.replace("▁", " ").encode()
        return self.decode([id]).encode()

    def _template(self) -> str:
        source: Any = self._tokenizer.chat_template or ""
        if isinstance(source, dict):
            source = source.get("default") or next(iter(source.values()), "")
        return str(source)
