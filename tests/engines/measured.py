"""An engine whose calls tell what llama.cpp really allocates, and what happens where it cannot."""

import ctypes
import re
import resource
import sys
from pathlib import Path

import numpy as np  # pyright: ignore[reportMissingImports]  it is in the engine's environment

from kernel.contract import ModelInfo, Refused
from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "llama_cpp"
SIZES = {
    "weights": r"model buffer size = *([\d.]+) MiB",
    "cache": r"(?:KV|RS) buffer size = *([\d.]+) MiB",
    "compute": r"(?:compute|output) buffer size = *([\d.]+) MiB",
}


class Engine:
    concurrent = ()

    def load(self, path, options, report):
        load_code(f"{FOLDER / 'worker.py'}:Engine")
        import llama_cpp.llama_cpp as C  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

        from extensions.llama_cpp.native import context, library  # noqa: PLC0415 - after that

        self._context, self._library = context, library
        self._log, self._lines = library.start(), []

        @C.llama_log_callback
        def hear(severity, text, _):
            self._lines.append(text.decode("utf-8", "replace"))
            self._log._hear(severity, text, _)

        C.llama_log_set(hear, ctypes.c_void_p(0))
        self._hear = hear
        return ModelInfo("measured")

    def submit(self, id, request): ...

    def cancel(self, id): ...

    def poll(self, timeout):
        return ()

    def call(self, name, report, cancelled, **data):
        return getattr(self, name)(**data)

    def measure(self, path, options, mapped):
        """Bytes of each kind, as the library says it, and by how much the process grew."""
        self._lines.clear()
        before = resident()
        model = self._library.Model.load(
            path,
            self._log,
            lambda share: None,
            n_gpu_layers=0,
            use_extra_bufts=False,
            load_mode=int(mapped),
        )
        context = self._context.Context(model, self._log, n_threads=1, **options)
        self._read(context, min(options["cells"], options["n_batch"]))
        said = "".join(self._lines)
        found = {
            name: int(sum(map(float, re.findall(pattern, said))) * (1 << 20))
            for name, pattern in SIZES.items()
        }
        grown = resident() - before
        context.close()
        model.close()
        return {**found, "grown": grown}

    def starve(self, path, room, moment):
        """Leave the process `room` more bytes of addresses at that moment."""
        if moment == "load":
            limit(room)
        model = self._library.Model.load(
            path, self._log, lambda share: None, n_gpu_layers=0, use_extra_bufts=False, load_mode=0
        )
        if moment == "context":
            limit(room)
        sizes = {"cells": 8192, "sequences": 2, "n_batch": 2048, "n_ubatch": 2048}
        context = self._context.Context(model, self._log, n_threads=1, **sizes)
        if moment in ("reading", "writing"):
            limit(room)
            self._read(context, 2048, all=moment == "writing")
        return "it did"

    def _read(self, context, count, all=False):
        batch, tokens = context.batch, np.ones(count, np.int32)
        batch.clear()
        batch.extend(tokens, 0, 0, last=True, every=all)
        batch.reads = not all  # The tokens of replies come one by one.
        if context.decode():
            raise Refused("no room")


def limit(room):
    size = status("VmSize:") + room
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


def resident():
    return status("VmRSS:")


def status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    sys.exit(f"the system does not say {name}")
