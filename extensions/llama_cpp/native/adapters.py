"""LoRA adapters of a model: read once, switched between steps."""

import os
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as C
from extensions.engine_kit.api import Gguf, check_gguf_adapter
from extensions.llama_cpp.native.context import Context
from extensions.llama_cpp.native.library import Log, Model
from extensions.llama_cpp.native.row import Adapters
from extensions.llama_cpp.native.states import Stamp, stamp
from kernel.contract import Refused


class Loras:
    """The adapters that requests name by their files."""

    def __init__(self, model: Model, context: Context, log: Log, base: Gguf) -> None:
        self._model, self._context, self._log, self._base = model, context, log, base
        self._loaded: dict[str, Any] = {}
        self._stamps: dict[str, Stamp] = {}

    def stamp(self, path: str) -> Stamp:
        """What tells the file that was read from one that later has its name."""
        return self._stamps.get(path, ())

    def get(self, path: str) -> Any:
        """Read an adapter, unless that was done before; raises Refused. On the engine's thread."""
        if path in self._loaded:
            return self._loaded[path]
        self._check(path)
        self._stamps[path] = stamp(path)
        self._log.troubles.clear()
        handle = C.llama_adapter_lora_init(self._model.handle, os.fsencode(path))
        if not handle:  # A null pointer is an object, and only false.
            raise Refused(
                f"{Path(path).name} does not fit this model: "
                f"{self._log.reason() or 'llama.cpp did not say why'}. Choose an adapter that was "
                "made for it."
            )
        self._loaded[path] = handle
        return handle

    def use(self, adapters: Adapters) -> None:
        """Let these change the weights from the next step on."""
        self._context.use_adapters([(self.get(path), weight) for path, weight in adapters])

    def _check(self, path: str) -> None:
        if not Path(path).is_file():
            raise Refused(f"There is no adapter at {path}. Look below loras/ for its name.")
        check_gguf_adapter(path, self._base)
