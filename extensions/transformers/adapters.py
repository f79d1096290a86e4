"""LoRA adapters of a model: read once, and added to each row of a step that asks for them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import embedding, linear

from extensions.engine_kit.api import Peft, misfit, read_peft
from extensions.transformers.batch import Adapters
from kernel.contract import Refused


class Product(NamedTuple):
    """What is added to a module's output: down to the rank, up again, times a number."""

    first: Tensor
    second: Tensor
    scale: float
    embedding: bool

    def of(self, given: Tensor) -> Tensor:
        if self.embedding:
            low = embedding(given, self.first.T)
        else:
            low = linear(given.to(self.first.dtype), self.first)
        return linear(low, self.second) * self.scale


class Part(NamedTuple):
    """An adapter in a step: its weight, and the rows that it changes; None is all of them."""

    path: str
    weight: float
    rows: Tensor | None


class Loras:
    """The adapters that requests name by their folders."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._read: dict[str, Mapping[str, Product]] = {}
        self._hooked: set[str] = set()
        self._now: list[Part] = []
        self._alone: set[str] = set()
        """Adapters that change what the model computes for all rows at once, as a mixture does."""

    def get(self, path: str) -> None:
        """Read an adapter, unless that was done before; raises Refused. On the engine's thread."""
        if path in self._read:
            return
        adapter, folder = read_peft(path), Path(path)
        modules = dict(self._model.named_modules())
        for module, factors in adapter.factors.items():
            weight = getattr(modules.get(module), "weight", None)
            if weight is None:
                raise Refused(f"{folder.name} does not fit this model: it has no {module[:120]}.")
            kind = type(modules[module]).__name__
            if why := misfit(factors, weight.shape, turned=kind == "Conv1D"):
                raise Refused(f"{folder.name} does not fit this model: {module[:120]} {why}.")
        self._read[path] = self._products(folder, adapter, modules)
        for module in adapter.factors.keys() - self._hooked:
            self._hooked.add(module)
            modules[module].register_forward_hook(self._hook(module))

    def use(self, rows: Sequence[Adapters]) -> None:
        """Let these change the next step, each its own row."""
        self._now = []
        for path, weight in dict.fromkeys(pair for row in rows for pair in row):
            if weight:
                at = [n for n, row in enumerate(rows) if (path, weight) in row]
                only = None if len(at) == len(rows) else torch.tensor(at)
                self._now.append(Part(path, weight, only))

    def check_beside(self, adapters: Adapters, others: Iterable[Adapters]) -> None:
        """Refuse a row that cannot be written together with the others."""
        for other in others:
            if other != adapters and any(path in self._alone for path, _ in (*adapters, *other)):
                raise Refused(
                    "Another reply with other adapters is being written, and this model cannot "
                    "write both at once. Ask again when it has ended."
                )

    def _products(
        self, folder: Path, adapter: Peft, modules: Mapping[str, Any]
    ) -> dict[str, Product]:
        found: dict[str, Product] = {}
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
            for module, factors in adapter.factors.items():
                like = modules[module].weight
                first, second = (  # Copied: else they are the file, which may be written anew.
                    file.get_tensor(name).to(like, copy=True) for name in factors.parts
                )
                scale = adapter.scale(module)
                found[module] = Product(first, second, scale, factors.embedding)
        return found

    def _hook(self, module: str) -> Any:
        """Adds what the adapters of this step say of a module to its output."""

        def hook(of: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            for part in self._now:
                if not (product := self._read[part.path].get(module)):
                    continue
                if output.dim() < 3:  # Rows are one list of tokens here.
                    self._alone.add(part.path)
                if part.rows is None:
                    output = output + part.weight * product.of(given[0])
                else:
                    rows = part.rows.to(output.device)
                    change = part.weight * product.of(given[0][rows])
                    output = output.index_add(0, rows, change.to(output.dtype))
            return output

        return hook
