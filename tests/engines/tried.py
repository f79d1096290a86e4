"""An engine whose call loads a file with llama.cpp, lets it write a few words, and frees it.

Without the checks that come before: what a file does to the library is what is asked.
"""

import resource
import sys
from pathlib import Path

import numpy as np  # pyright: ignore[reportMissingImports]  it is in the engine's environment

from kernel.contract import ModelInfo, Refused
from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "llama_cpp" / "native"
MEMORY = 4 << 30
"""Bytes of addresses; a file that makes it ask for more finds none."""


class Engine:
    concurrent = ()

    def load(self, path, options, report):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.modules.setdefault("extensions.llama_cpp", load_package(FOLDER.parent))
        from extensions.llama_cpp.native import context, library  # noqa: PLC0415 - after that

        self._context, self._library = context, library
        self._log, self._bases = library.start(), {}
        return ModelInfo("tried")

    def submit(self, id, request): ...

    def cancel(self, id): ...

    def poll(self, timeout):
        return ()

    def call(self, name, report, cancelled, *, path, base=""):
        if base:
            return self._adapt(path, base)
        model = self._library.Model.load(
            path, self._log, lambda share: None, n_gpu_layers=0, use_extra_bufts=False
        )
        try:
            return self._write(model)
        finally:
            model.close()

    def _adapt(self, path, base):
        """Let an adapter change a model for one step."""
        C = self._library.C
        if base not in self._bases:
            self._bases[base] = self._library.Model.load(
                base, self._log, lambda share: None, n_gpu_layers=0, use_extra_bufts=False
            )
        model = self._bases[base]
        handle = C.llama_adapter_lora_init(model.handle, path.encode())
        if not handle:
            raise Refused(self._log.reason())
        context = self._context.Context(
            model, self._log, cells=256, sequences=1, n_batch=64, n_ubatch=64, n_threads=1
        )
        try:
            context.use_adapters([(handle, 1.0)])
            context.batch.clear()
            context.batch.extend(np.ones(8, np.int32), 0, 0, last=True)
            return context.decode()
        finally:
            context.close()
            C.llama_adapter_lora_free(handle)

    def _write(self, model):
        parameters = {"n_batch": 64, "n_ubatch": 64, "n_threads": 1, "n_threads_batch": 1}
        context = self._context.Context(model, self._log, cells=256, sequences=2, **parameters)
        try:
            tokens = model.tokenize("Once upon a time, 1 é", beginning=True)[:60]
            written = []
            while len(written) < 3:
                context.batch.clear()
                row = context.batch.extend(np.array([*tokens, *written], np.int32), 0, 0, last=True)
                context.forget(0)
                if context.decode():
                    break
                written.append(int(np.nanargmax(np.nan_to_num(context.logits(row)))))
            return model.detokenize(written)
        finally:
            context.close()


def load_package(folder):
    load_code(f"{folder / 'worker.py'}:Engine")
    return sys.modules["extensions.llama_cpp"]
