"""The engine: it prints a line for each layer, as llama.cpp does, and never gets far."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from kernel.contract import ModelInfo, Output, Refused, Request


class Engine:
    """Loads for ever, or until it crashes."""

    concurrent: Sequence[str] = ()

    def load(
        self, path: str, options: Mapping[str, Any], report: Callable[[float, str], None]
    ) -> ModelInfo:
        report(0.0, "Checking the file")
        time.sleep(0.2)
        for layer in range(1, 41):
            sys.stderr.write(f"load_tensors: layer {layer:3} assigned to device CPU\n")
            report(layer / 100, f"Reading {layer} of 100")
            time.sleep(0.02)
        said = Path(path).read_text("utf-8")
        if said == "starve":
            raise Refused("The engine ran out of memory while loading the model.")
        if said == "crash":
            sys.stderr.write("ggml_abort: about to fall over\n")
            sys.stderr.flush()
            os.abort()
        while True:
            report(0.4, "Reading 40 of 100")
            time.sleep(0.5)

    def submit(self, id: int, request: Request) -> NoReturn:
        raise NotImplementedError

    def poll(self, timeout: float) -> Sequence[Output]:
        time.sleep(timeout)
        return ()

    def cancel(self, id: int) -> None: ...

    def call(self, name: str, report: Any, cancelled: Any, **data: Any) -> NoReturn:
        raise NotImplementedError
