"""The C library, its log, and a loaded model with its vocabulary.

llama-cpp-python's ctypes declarations of one exact version; other versions have other structs.
"""

import ctypes
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

import llama_cpp.llama_cpp as C
from extensions.engine_kit.api import SPOKEN
from kernel.contract import Refused

VERSION = "0.3.36"
"""What the structs and calls here were written for."""
WARNING, ERROR, CONTINUED = 3, 4, 5
"""Severities of llama.cpp's log; ggml's own enumeration, not llama-cpp-python's table."""
KEPT = 20
"""Lines of warnings and errors that the reason of a failure is looked for in."""
PIECE = 512
"""Bytes; no token is longer."""
EXPECTED = (
    "failed to find a memory slot",
    "available cells in kv cache",
    "error loading state: failed to restore kv cache",
)
"""What llama.cpp says where there is no room just now: the batcher makes some, or waits."""
STARVED = re.compile(r"alloc|out of memory", re.IGNORECASE)
"""What llama.cpp says where there was too little memory."""


class OutOfMemory(RuntimeError):
    """There was too little memory, says llama.cpp."""


class Log:
    """What llama.cpp says, a line at a time to stderr with its severity; the worst is kept."""

    def __init__(self) -> None:
        self.troubles: deque[str] = deque(maxlen=KEPT)
        self.stopping = False
        """Whether a step is being ended on purpose, of which llama.cpp speaks as of an error."""
        self._severity = WARNING
        self._line = ""
        self._callback = C.llama_log_callback(self._hear)  # C keeps only the pointer
        C.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _hear(self, severity: int, text: bytes, _: Any) -> None:
        if severity != CONTINUED:
            self._severity = severity
        self._line += text.decode("utf-8", "replace")
        *lines, self._line = self._line.split("\n")
        for line in filter(None, map(str.strip, lines)):
            grave = self._severity >= WARNING and not self.stopping
            if grave:
                self.troubles.append(line)
            if grave and not any(each in line for each in EXPECTED):
                name = "error" if self._severity == ERROR else "warning"
                sys.stderr.write(f"{name}: {line}\n")
            elif line.strip("."):
                sys.stderr.write(f"{line}\n")

    def reason(self) -> str:
        """What it complained of last, as a sentence's end."""
        return "; ".join(list(self.troubles)[-3:]).rstrip(".")


def start(numa: bool = False) -> Log:
    """Make the library ready, once in a process."""
    if (found := version("llama_cpp_python")) != VERSION:
        raise Refused(
            f"This environment holds llama-cpp-python {found}, and {VERSION} is needed. "
            "Build the native engine again."
        )
    log = Log()
    C.llama_backend_init()
    if numa:
        C.llama_numa_init(C.GGML_NUMA_STRATEGY_DISTRIBUTE)
    return log


class Model:
    """The weights and the vocabulary of one file."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.vocabulary = vocabulary = C.llama_model_get_vocab(handle)
        self.vocabulary_size = size = C.llama_vocab_n_tokens(vocabulary)
        self.layers = C.llama_model_n_layer(handle)
        self.trained = C.llama_model_n_ctx_train(handle)
        self.width = C.llama_model_n_embd(handle)
        self.parameters = C.llama_model_n_params(handle)
        self.bytes = C.llama_model_size(handle)
        self.encoder = C.llama_model_has_encoder(handle)
        self.decoder = C.llama_model_has_decoder(handle)
        recurrent = C.llama_model_is_recurrent(handle) or C.llama_model_is_hybrid(handle)
        self.cuttable = not recurrent
        """Whether the end of what a sequence remembers can be forgotten."""
        self.eog = frozenset(i for i in range(size) if C.llama_vocab_is_eog(vocabulary, i))
        """The tokens that end a reply."""
        self.bos, self.eos = C.llama_vocab_bos(vocabulary), C.llama_vocab_eos(vocabulary)
        self.readable = C.llama_vocab_type(vocabulary) != C.LLAMA_VOCAB_TYPE_NONE
        """Whether there is a tokenizer; without one, asking for text ends the process."""
        self.pieces = self._pieces(special=False) if self.readable else [b""] * size
        """The bytes of each token, looked up once: no call a token later."""
        self._special: list[bytes] | None = None
        for text in SPOKEN if self.readable else ():
            tokens = self.tokenize(text, beginning=False)
            if len(tokens) == 1 and tokens[0] not in self.eog:
                self.pieces[tokens[0]] = self.piece(tokens[0], special=True)

    @classmethod
    def load(
        cls, path: str, log: Log, report: Callable[[float], None], **parameters: Any
    ) -> "Model":
        """Read a file; raises Refused with llama.cpp's own reason, or OutOfMemory.

        `parameters` are fields of `llama_model_params`; `tensor_split` a sequence of shares and
        `tensor_buft_overrides` an array of the struct of that name.
        """
        given = C.llama_model_default_params()
        split: Sequence[float] = parameters.pop("tensor_split", ())
        shares = (ctypes.c_float * C.llama_max_devices())(*split)
        if split:
            given.tensor_split = ctypes.cast(shares, ctypes.POINTER(ctypes.c_float))
        overrides = key_values(parameters.pop("kv_overrides", {}))
        if overrides:
            given.kv_overrides = ctypes.cast(overrides, ctypes.POINTER(C.llama_model_kv_override))
        if (moved := parameters.pop("tensor_buft_overrides", None)) is not None:
            given.tensor_buft_overrides = ctypes.addressof(moved)
        for name, value in parameters.items():
            setattr(given, name, value)

        def progress(share: float, _: Any) -> bool:
            report(share)
            return True

        given.progress_callback = kept = C.llama_progress_callback(progress)
        log.troubles.clear()
        handle = C.llama_model_load_from_file(os.fsencode(path), given)
        del kept
        if not handle:
            if STARVED.search(log.reason()):
                raise OutOfMemory(log.reason())
            raise Refused(
                f"{os.path.basename(path)} cannot be loaded: llama.cpp says: "
                f"{log.reason() or 'it did not say why'}."
            )
        return cls(handle)

    def learn(self, pieces: "list[bytes]", special: "list[bytes]", ends: "frozenset[int]") -> None:
        """Know the tokens by a tokenizer from elsewhere, where the file has none."""
        self.pieces, self._special, self.eog = pieces, special, ends

    def piece(self, token: int, special: bool) -> bytes:
        """The bytes of a token; of a special one only when they are wanted."""
        if not special:
            return self.pieces[token]
        if self._special is None:
            self._special = self._pieces(special=True)
        return self._special[token]

    def described(self, tokens: Sequence[int]) -> "list[tuple[int, bytes, bool]]":
        """Each token, its bytes, and whether it is special: one that a reply does not show."""
        pieces = [(token, self.piece(token, special=True)) for token in tokens]
        return [(token, piece, piece != self.pieces[token]) for token, piece in pieces]

    def _pieces(self, *, special: bool) -> list[bytes]:
        buffer, to_piece = ctypes.create_string_buffer(PIECE), C.llama_token_to_piece
        found: list[bytes] = []
        for token in range(self.vocabulary_size):
            length = to_piece(self.vocabulary, token, buffer, PIECE, 0, special)
            found.append(buffer.raw[:length] if length > 0 else b"")
        return found

    def tokenize(self, text: str, *, beginning: bool, special: bool = True) -> "list[int]":
        """The tokens of a text; `beginning` adds what the model wants first, `special` reads
        control tokens that are written out."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            tokens = (C.llama_token * room)()
            count = C.llama_tokenize(
                self.vocabulary, data, len(data), tokens, room, beginning, special
            )
            if count >= 0:
                return tokens[:count]
            room = -count

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Their text, special ones as they are written; raises Refused for what is no token."""
        self.check(tokens)
        return b"".join(self.piece(token, special=True) for token in tokens).decode(
            "utf-8", "replace"
        )

    def check(self, tokens: Sequence[int]) -> None:
        """Refuse what is no token of this model: llama.cpp does so too, for the whole batch."""
        ids = np.asarray(tokens, np.int64)
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.vocabulary_size):
            raise Refused(
                f"The prompt contains invalid tokens: this model knows 0 to "
                f"{self.vocabulary_size - 1:,}."
            )

    def close(self) -> None:
        C.llama_model_free(self.handle)


def key_values(overrides: Mapping[str, bool | int | float | str]) -> Any:
    """The header's values that are to count instead of the file's, as a C array; or None."""
    if not overrides:
        return None
    kinds = {
        bool: (C.LLAMA_KV_OVERRIDE_TYPE_BOOL, "val_bool"),
        int: (C.LLAMA_KV_OVERRIDE_TYPE_INT, "val_i64"),
        float: (C.LLAMA_KV_OVERRIDE_TYPE_FLOAT, "val_f64"),
    }
    array = (C.llama_model_kv_override * (len(overrides) + 1))()  # an empty key ends it
    for entry, (key, value) in zip(array, overrides.items(), strict=False):
        if len(key.encode()) > 127:
            raise Refused(f"The override {key[:40]!r} has too long a name.")
        entry.key = key.encode()
        if isinstance(value, str):
            if len(value.encode()) > 127:
                raise Refused(f"The override of {key} is longer than 127 bytes.")
            entry.tag = C.LLAMA_KV_OVERRIDE_TYPE_STR
            entry.value.val_str = value.encode()
        else:
            entry.tag, field = kinds[type(value)]
            setattr(entry.value, field, value)
    return array
