"""Decodes all running requests in one step: one cache of keys and values, padded on the left.

Rows join when their prompt was read, and leave whenever they like. A model whose cache is of
another kind (a recurrent state, for example) is run row by row instead.
"""

import inspect
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

MERGEABLE = (DynamicLayer, DynamicSlidingWindowLayer)
WORTH = 16
"""Tokens; a shorter beginning that was seen before is read again."""


Adapters = tuple[tuple[str, float], ...]
"""What changes the weights for one row."""


class Past(NamedTuple):
    """A row that left: its tokens, adapters, and the keys and values of every layer."""

    ids: list[int]
    adapters: Adapters
    layers: list[tuple[Tensor, ...]]


def ignored(rows: Sequence[Adapters]) -> None:
    """What a batch without adapters does with those of its rows."""


class Row:
    """One request's tokens, of which the model has seen the first `seen`."""

    kept = True
    """Whether what it leaves may be the beginning of another one."""

    def __init__(self, ids: list[int], adapters: Adapters = ()) -> None:
        self.ids, self.adapters = ids, adapters
        self.seen = self.cached = 0
        self.cache: Any = None
        """Its own until it joins the batch."""


R = TypeVar("R", bound=Row)


class Batch(Generic[R]):
    """Rows that decode together; give it rows to `read`, then let them `join`."""

    def __init__(self, model: Any, use: Callable[[Sequence[Adapters]], None] = ignored) -> None:
        self._model, self._use = model, use
        known = inspect.signature(model.forward).parameters
        self._positions = "position_ids" in known
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self.rows: list[R] = []
        self._cache: Any = None
        self._past: deque[Past] = deque(maxlen=4)

    def read(self, row: R, count: int) -> Tensor:
        """Let the model see the next tokens of a row; the scores after the last of them."""
        if row.cache is None:
            row.cache = DynamicCache(config=self._model.config)
            self._recall(row)
        ids = row.ids[row.seen : row.seen + count]
        row.seen += len(ids)
        return self._forward([ids], row.cache, [row.adapters])[0]

    def join(self, row: R) -> None:
        """Let it decode together with the others; where that finds no room, they go on without."""
        if all(type(layer) in MERGEABLE for layer in row.cache.layers):
            if self._cache is None:
                self._cache = row.cache
            else:
                self._merge(row.cache)
            row.cache = None  # else it keeps its cache, and is run by itself
        self.rows.append(row)

    def leave(self, gone: Callable[[R], bool]) -> None:
        """Drop rows, and the padding that only they needed."""
        stay = [at for at, row in enumerate(self.rows) if not gone(row)]
        if len(stay) == len(self.rows):
            return
        for at in set(range(len(self.rows))) - set(stay):
            self._remember(at)
        self.rows = [self.rows[at] for at in stay]
        if not self.rows:
            self._cache = None
        elif self._cache:
            longest = max(row.seen for row in self.rows)
            with self._all_or_none():
                for layer in self._cache.layers:
                    keep(layer, stay, longest)

    def take_back(self, row: R) -> None:
        """A row has fewer tokens than the model saw: let it see the last of them again."""
        count = row.seen - (len(row.ids) - 1)
        layers = self._cache.layers if self._cache and row.cache is None else ()
        if not layers or any(type(layer) is not DynamicLayer for layer in layers):
            self.leave(lambda each: each is row)  # it cannot forget the last, and reads again
            row.seen, row.cache = 0, None
            return
        row.seen -= count
        at, longest = self.rows.index(row), max(each.seen for each in self.rows)
        try:
            with torch.inference_mode():
                for layer in layers:
                    for part in (layer.keys, layer.values):
                        part[at] = part[at].roll(count, dims=-2)  # what is forgotten is padding
                    keep(layer, list(range(len(self.rows))), longest)
        except BaseException:
            for each in self.rows:  # Some layers went back, and some did not: all read again.
                each.seen = 0
            self.rows, self._cache = [], None
            raise

    def step(self) -> Collection[tuple[R, Tensor]]:
        """Let the model see the last token of every row; each row's scores for the next."""
        with self._all_or_none():
            if self._cache is None:
                return [(row, self.read(row, 1)) for row in self.rows]
            longest = max(row.seen for row in self.rows)
            padding = [longest - row.seen for row in self.rows]
            last, adapters = [r.ids[-1:] for r in self.rows], [r.adapters for r in self.rows]
            scores = self._forward(last, self._cache, adapters, padding)
        for row in self.rows:
            row.seen += 1
        return list(zip(self.rows, scores, strict=True))

    def _merge(self, cache: Any) -> None:
        try:
            return self._append(cache)
        except torch.OutOfMemoryError:
            if not self._past:
                raise
        self._give_way()
        self._append(cache)

    def _append(self, cache: Any) -> None:
        rows, longest = len(self.rows), max(row.seen for row in self.rows)
        try:
            for ours, its in zip(self._cache.layers, cache.layers, strict=True):
                append(ours, its)
        except BaseException:
            for layer in self._cache.layers:
                keep(layer, slice(rows), longest)  # a slice takes no memory
            raise

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """After a failure some layers have a step more than others: no row can go on with that."""
        try:
            yield
        except BaseException:
            self.rows, self._cache = [], None
            raise

    def _remember(self, at: int) -> None:
        """Keep what a row leaves, for the next turn of its conversation."""
        row, seen = self.rows[at], self.rows[at].seen
        if not self._cache or not row.kept:
            return
        if any(type(layer) is not DynamicLayer for layer in self._cache.layers):
            return
        try:
            layers = [
                tuple(part[at : at + 1, :, -seen:].clone() for part in (layer.keys, layer.values))
                for layer in self._cache.layers
            ]
            self._past.append(Past(row.ids[:seen], row.adapters, layers))
        except torch.OutOfMemoryError:
            self._past.clear()

    def _recall(self, row: R) -> None:
        """Begin where a row that left had the same beginning."""
        alike = [past for past in self._past if past.adapters == row.adapters]
        best = max(alike, key=lambda past: common(past.ids, row.ids), default=None)
        if not best or (length := min(common(best.ids, row.ids), len(row.ids) - 1)) < WORTH:
            return
        for layer, (keys, values) in zip(row.cache.layers, best.layers, strict=True):
            layer.update(keys[:, :, :length], values[:, :, :length])
        row.seen = row.cached = length

    def _forward(
        self,
        ids: list[list[int]],
        cache: Any,
        adapters: Sequence[Adapters],
        padding: list[int] | None = None,
    ) -> Tensor:
        self._use(adapters)
        device = self._model.device
        more: dict[str, Any] = dict(self._last_only)
        if padding and any(padding):
            total = cache.get_seq_length() + len(ids[0])
            pads = torch.tensor(padding, device=device)
            more["attention_mask"] = (torch.arange(total, device=device) >= pads[:, None]).long()
            if self._positions:
                more["position_ids"] = total - 1 - pads[:, None]
        more |= {"input_ids": torch.tensor(ids, device=device), "past_key_values": cache}
        length = cache.get_seq_length()
        try:
            return self._scores(more)
        except torch.OutOfMemoryError:
            if not self._past:
                raise
        for layer in cache.layers:
            keep_first(layer, length)
        self._give_way()
        return self._scores(more)

    def _give_way(self) -> None:
        """What is only remembered leaves its memory to what is under way."""
        self._past.clear()
        torch.cuda.empty_cache()

    def _scores(self, inputs: dict[str, Any]) -> Tensor:
        with torch.inference_mode():
            return self._model(use_cache=True, **inputs).logits[:, -1].float()


def append(ours: Any, its: Any) -> None:
    """One more row in a layer of the shared cache; the shorter of both is padded on the left."""
    for name in ("keys", "values"):
        parts = [getattr(ours, name), getattr(its, name)]
        width = max(part.shape[-2] for part in parts)
        parts = [pad(part, (0, 0, width - part.shape[-2], 0)) for part in parts]
        setattr(ours, name, torch.cat(parts))
    if isinstance(ours, DynamicSlidingWindowLayer):
        ours.cumulative_length = max(ours.cumulative_length, its.cumulative_length)


def keep(layer: Any, rows: list[int] | slice, longest: int) -> None:
    for name in ("keys", "values"):
        part = getattr(layer, name)
        setattr(layer, name, part[rows][..., -longest:, :])
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length = longest


def keep_first(layer: Any, length: int) -> None:
    """Take back a step that was broken off."""
    if layer.is_initialized:
        layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))
