"""Contrastive search: the likely token whose meaning repeats the least (arXiv 2202.06417)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from extensions.llama_cpp.api import PIECE, Adapters
from extensions.llamacpp_hf.beside import CANDIDATES, Beside, Line
from kernel.contract import Refused


class Contrast:
    """A reply's hidden states, and the next token of a few that are tried."""

    def __init__(
        self, beside: Beside, alpha: float, count: int, prompt: Sequence[int], adapters: Adapters
    ) -> None:
        if not 2 <= count <= CANDIDATES:
            raise Refused(
                f"Contrastive search (penalty_alpha) chooses from the best tokens: set top_k to "
                f"2 to {CANDIDATES}."
            )
        self._beside, self._alpha, self._count = beside, alpha, count
        self._prompt, self._adapters = prompt, adapters
        self._line: Line | None = None
        self._states = torch.zeros(0, beside.context.model.width)
        """Of each token that was read, of length 1; more rows than are used."""

    def __call__(self, scores: Tensor) -> int:
        """The next token, by what is likely and unlike all that was there."""
        while self.behind():
            pass
        line = self._opened()
        likely, ids = scores.softmax(-1).topk(self._count)
        with self._trying():
            tried = self._try(line, ids.tolist())
            alike = (tried @ self._states[: line.past].T).amax(-1)
            worth = (1 - self._alpha) * likely - self._alpha * alike
            best = int(worth.masked_fill(likely == 0, -torch.inf).argmax())
            self._beside.context.copy(best, line.sequence, line.past + 1)
        self._note(line.past, tried[best : best + 1])
        line.add(int(ids[best]))
        line.past += 1
        return line.tokens[-1]

    def behind(self) -> bool:
        """Read a piece of what is not read yet; whether there is more."""
        line = self._opened()
        if line.past < len(line.tokens):
            self._read(line)
        return line.past < len(line.tokens)

    def take_back(self, count: int) -> None:
        if self._line:
            self._beside.take_back(self._line, count)

    def close(self) -> None:
        if self._line:
            self._beside.close(self._line)

    # --- in the memory beside ---

    def _opened(self) -> Line:
        self._line = self._line or self._beside.open(self._prompt, self._adapters)
        return self._line

    def _read(self, line: Line) -> None:
        """Read a piece, unless there is no room yet, and note the hidden state of each token."""
        if self._beside.waits(line):
            return
        batch = self._beside.context.batch
        part = np.array(line.tokens[line.past : line.past + PIECE], np.int32)
        while True:
            batch.clear()
            batch.extend(part, line.past, line.sequence, last=True, every=True)
            if self._beside.carried_out(line, hidden=True):
                break
            if not self._beside.make_room(line):
                return
        self._note(line.past, self._hidden(len(part)))
        line.past += len(part)

    def _try(self, line: Line, ids: Sequence[int]) -> Tensor:
        """The hidden states of the candidates, each as if it came next."""
        context = self._beside.context
        for candidate in range(len(ids)):
            context.copy(line.sequence, candidate, line.past)
        while True:
            context.batch.clear()
            for candidate, id in enumerate(ids):
                context.batch.add(id, line.past, candidate)
            if self._beside.carried_out(line, hidden=True):
                return self._hidden(len(ids))
            while not self._beside.make_room(line):
                pass

    def _note(self, begin: int, states: Tensor) -> None:
        end = begin + len(states)
        if end > len(self._states):
            more = torch.zeros(max(end, 2 * len(self._states)) - begin, states.shape[-1])
            self._states = torch.cat([self._states[:begin], more])
        self._states[begin:end] = states

    def _hidden(self, count: int) -> Tensor:
        handle, width = self._beside.context.handle, self._beside.context.model.width
        rows: list[Any] = []
        for row in range(count):
            pointer = C.llama_get_embeddings_ith(handle, row)
            if not pointer:
                raise Refused("This model shows no hidden states, which penalty_alpha needs.")
            rows.append(np.ctypeslib.as_array(pointer, (width,)))
        return normalize(torch.from_numpy(np.stack(rows)), dim=-1)

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """What was only tried is forgotten at the end."""
        try:
            yield
        finally:
            for candidate in range(self._count):
                self._beside.context.forget(candidate)
