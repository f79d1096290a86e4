"""A llama.cpp context: what its sequences remember, and one decode step for all of them.

Every call that would end the process is fenced here: more tokens than a batch holds, rows without
logits, sequences that do not exist, numbers of threads that no machine has.
"""

import ctypes
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import llama_cpp.llama_cpp as C
from extensions.llama_cpp.native.library import STARVED as OUT_OF_MEMORY
from extensions.llama_cpp.native.library import Log, Model, OutOfMemory
from kernel.contract import Refused

MOST_SEQUENCES = 256
"""As many as llama.cpp keeps apart."""
MOST_THREADS = 512
"""llama.cpp dies of more than the system gives it."""
MOST_CELLS = 1 << 24
"""Tokens; it hangs for minutes where a number is beyond all memory."""
MOST_BATCH = 1 << 16
"""Tokens in a step; it asserts that there are as many as sequences."""
FULL, ABORTED, STARVED = 1, 2, -2
"""What a decode step answers beside 0: no room, told to stop, and no memory."""

_decode = C.llama_decode


class Batch:
    """The tokens of one step: arrays that are made once, and that C reads from."""

    def __init__(self, size: int) -> None:
        self.size, self.used = size, 0
        self.reads = False
        """Whether a part of a prompt is among them."""
        self.tokens, self.positions, self.sequences = (np.zeros(size, np.int32) for _ in range(3))
        self.outputs = np.zeros(size, np.int8)
        parts = self.tokens, self.positions, self.sequences, self.outputs
        self._cells = tuple(map(memoryview, parts))  # of them a single one is set twice as fast
        self._counts = np.ones(size, np.int32)
        integers, flags = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int8)
        self._pointers = (integers * size)(
            *[ctypes.cast(self.sequences.ctypes.data + 4 * row, integers) for row in range(size)]
        )
        self.native = native = C.llama_batch()
        native.token = ctypes.cast(self.tokens.ctypes.data, type(native.token))
        native.pos = ctypes.cast(self.positions.ctypes.data, type(native.pos))
        native.n_seq_id = ctypes.cast(self._counts.ctypes.data, type(native.n_seq_id))
        native.seq_id = ctypes.cast(self._pointers, type(native.seq_id))
        native.logits = ctypes.cast(self.outputs.ctypes.data, flags)
        native.embd = None

    def clear(self) -> None:
        self.used, self.reads = 0, False

    def add(self, token: int, position: int, sequence: int) -> int:
        """One token whose logits are wanted; answers its row."""
        row, (tokens, positions, sequences, outputs) = self.used, self._cells
        tokens[row], positions[row], sequences[row], outputs[row] = token, position, sequence, 1
        self.used = row + 1
        return row

    def extend(
        self,
        tokens: "np.ndarray[Any, Any]",
        position: int,
        sequence: int,
        *,
        last: bool,
        every: bool = False,
    ) -> int:
        """Tokens of a prompt; the logits of the `last` one are wanted where it is that of all, or
        those of `every` one."""
        begin, self.used, self.reads = self.used, self.used + len(tokens), True
        rows = slice(begin, self.used)
        self.tokens[rows] = tokens
        self.positions[rows] = np.arange(position, position + len(tokens), dtype=np.int32)
        self.sequences[rows], self.outputs[rows] = sequence, every
        self.outputs[self.used - 1] = last or every
        return self.used - 1

    @property
    def room(self) -> int:
        return self.size - self.used


class Context:
    """The memory of up to `sequences` conversations, `cells` tokens in all."""

    def __init__(self, model: Model, log: Log, *, cells: int, sequences: int, **more: Any) -> None:
        if not 1 <= sequences <= MOST_SEQUENCES:
            raise Refused(f"llama.cpp keeps 1 to {MOST_SEQUENCES} sequences apart.")
        if not 1 <= cells <= MOST_CELLS:
            raise Refused(f"A context of {cells:,} tokens is beyond all memory. Choose less.")
        given = C.llama_context_default_params()
        # It cuts a step to the context's length, and asserts that a token of each sequence fits it.
        given.n_ctx, given.n_seq_max = max(cells, sequences), sequences
        given.kv_unified, given.no_perf = True, True
        for name, value in more.items():
            if name in ("n_threads", "n_threads_batch"):
                value = max(1, min(value, MOST_THREADS))
            if name in ("n_batch", "n_ubatch"):
                value = max(sequences, min(value, MOST_BATCH))
            setattr(given, name, value)
        given.n_ubatch = min(given.n_ubatch, given.n_batch)
        log.troubles.clear()
        self._log = log
        self.handle = C.llama_init_from_model(model.handle, given)
        if not self.handle:
            if OUT_OF_MEMORY.search(reason := log.reason()):
                raise OutOfMemory(reason)
            raise Refused(f"llama.cpp cannot make a context: {reason or 'it did not say why'}.")
        self.model = model
        self.memory = C.llama_get_memory(self.handle)
        self.cells, self.sequences = C.llama_n_ctx(self.handle), sequences
        self.batch = Batch(C.llama_n_batch(self.handle))
        self.shiftable = bool(self.memory) and C.llama_memory_can_shift(self.memory)
        self._stop = ctypes.create_string_buffer(2)
        self._stepping = threading.Lock()
        self._watch_stop()

    def decode(self) -> int:
        """Carry out the batch: 0, or FULL, or ABORTED; raises OutOfMemory, whose text is what
        was being done, or RuntimeError for all else."""
        batch = self.batch
        if not 0 < batch.used <= batch.size:
            raise RuntimeError(f"a step of {batch.used:,} tokens was asked for")
        batch.native.n_tokens = batch.used
        if not self._stepping.acquire(blocking=False):
            raise RuntimeError("two threads asked for a step of one context")
        try:
            code = _decode(self.handle, batch.native)
        finally:
            self._stepping.release()
        self._stop[0], self._log.stopping = b"\0", False
        batch.outputs[batch.used if code == 0 else 0 :] = 0  # only these rows have logits now
        if code == STARVED:
            raise OutOfMemory("reading a prompt" if batch.reads else "writing a reply")
        if code not in (0, FULL, ABORTED):
            raise RuntimeError(f"llama.cpp could not carry out a step (code {code})")
        return code

    def stop(self) -> None:
        """End the step that is under way, or the next one, from another thread: it is ABORTED."""
        self._log.stopping, self._stop[0] = True, b"\1"

    def logits(self, row: int) -> "np.ndarray[Any, Any]":
        """The logits of a row, as a view: what is written there is what will be sampled from."""
        if not self.batch.outputs[row]:
            raise RuntimeError("a row without logits was asked for")
        pointer = C.llama_get_logits_ith(self.handle, row)
        if not pointer:
            raise RuntimeError("llama.cpp has no logits for a row")
        return np.ctypeslib.as_array(pointer, (self.model.vocabulary_size,))

    # --- what sequences remember ---

    def forget(self, sequence: int, begin: int = 0) -> bool:
        """Forget from a position on; False where only all can be forgotten, which is then done."""
        self._check(sequence)
        if begin and C.llama_memory_seq_rm(self.memory, sequence, begin, -1):
            return True
        C.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        return not begin

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a sequence remember what another does, without copying anything."""
        self._check(source, target)
        C.llama_memory_seq_rm(self.memory, target, -1, -1)
        end = length if self.model.cuttable else -1
        C.llama_memory_seq_cp(self.memory, source, target, 0 if end > 0 else -1, end)

    def cut_out(self, sequence: int, begin: int, end: int, room: Callable[[], bool]) -> bool:
        """Forget a middle part; what follows moves to its place. Where that fails, all of it may
        be forgotten.

        What is shared with other sequences would move for them too: it gets its own copy first.
        `room` makes some for that, and answers whether it could.
        """
        if not self.shiftable:
            return False
        state = self.state(sequence)
        while not self.restore(sequence, state):
            if not room():
                return False
        if not C.llama_memory_seq_rm(self.memory, sequence, begin, end):
            return False
        C.llama_memory_seq_add(self.memory, sequence, end, -1, begin - end)
        return True

    def length(self, sequence: int) -> int:
        """How many tokens a sequence remembers."""
        self._check(sequence)
        return C.llama_memory_seq_pos_max(self.memory, sequence) + 1

    def size(self, sequence: int) -> int:
        """Bytes of everything that a sequence remembers."""
        return C.llama_state_seq_get_size(self.handle, sequence)

    def state(self, sequence: int) -> memoryview:
        """Everything that a sequence remembers, written where it stays: with memory that is cleared
        first, and a copy after, 1.4 MB took 1.6 ms and not 0.9."""
        self._check(sequence)
        buffer = np.empty(self.size(sequence), np.uint8)
        written = C.llama_state_seq_get_data(self.handle, _bytes(buffer), len(buffer), sequence)
        return memoryview(buffer)[:written]

    def restore(self, sequence: int, state: bytes | memoryview) -> bool:
        """Let a sequence remember again; False where it does not fit in. `state` must be whole
        and of this very model: llama.cpp aborts otherwise."""
        self._check(sequence)
        C.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        buffer = np.frombuffer(state, np.uint8)
        read = C.llama_state_seq_set_data(self.handle, _bytes(buffer), len(buffer), sequence)
        if not read:
            C.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        return bool(read)

    def use_adapters(self, adapters: Sequence[tuple[Any, float]]) -> None:
        """Let exactly these LoRA adapters change the weights from the next step on."""
        count = len(adapters)
        handles = (C.llama_adapter_lora_p_ctypes * count)(*[handle for handle, _ in adapters])
        scales = (ctypes.c_float * count)(*[scale for _, scale in adapters])
        if C.llama_set_adapters_lora(self.handle, handles, count, scales):
            raise RuntimeError("llama.cpp could not switch to these adapters")

    def close(self) -> None:
        C.llama_free(self.handle)

    def _check(self, *sequences: int) -> None:
        for sequence in sequences:
            if not 0 <= sequence < self.sequences:
                raise RuntimeError(f"there is no sequence {sequence}")

    def _watch_stop(self) -> None:
        # llama.cpp asks before every node of its graph, hundreds of times a token. The C library's
        # strlen answers at once whether the flag is set; a function of ours would cost more than
        # the decoding of a small model (benchmarks/README.md, "abort").
        libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
        asks = ctypes.cast(libc.strlen, C.ggml_abort_callback)
        C.llama_set_abort_callback(self.handle, asks, ctypes.cast(self._stop, ctypes.c_void_p))
        self._asks = asks


def _bytes(buffer: "np.ndarray[Any, Any]") -> Any:
    return ctypes.cast(buffer.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
