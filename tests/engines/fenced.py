"""An engine whose calls do what ends a process in llama.cpp: past the fences, and without them."""

import ctypes
import threading
from pathlib import Path

import numpy as np  # pyright: ignore[reportMissingImports]  it is in the engine's environment

from extensions.engine_kit.api import check_gguf
from kernel.contract import ModelInfo
from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "llama_cpp"


class Engine:
    concurrent = ()

    def load(self, path, options, report):
        load_code(f"{FOLDER / 'worker.py'}:Engine")
        import llama_cpp.llama_cpp as C  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

        from extensions.llama_cpp.native import context, library  # noqa: PLC0415 - after that

        self.C, self.Context = C, context.Context
        self.log, self.path = library.start(), path
        self.model = library.Model.load(
            path, self.log, lambda share: None, n_gpu_layers=0, use_extra_bufts=False
        )
        self.context = self.make()
        self.read(8)
        self.chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        C.llama_sampler_chain_add(self.chain, C.llama_sampler_init_greedy())
        return ModelInfo("fenced")

    def submit(self, id, request): ...

    def cancel(self, id): ...

    def poll(self, timeout):
        return ()

    def call(self, name, report, cancelled, **data):
        found = getattr(self, name)(**data)
        return [found if isinstance(found, int | str) else "done", self.read(4)]

    def make(self, **more):
        sizes = {"cells": 512, "sequences": 4, "n_batch": 64, "n_ubatch": 64, "n_threads": 1}
        return self.Context(self.model, self.log, **{**sizes, **more})

    def read(self, count):
        """A sound step; the answer shows that the context still works."""
        self.context.forget(0)
        self.context.batch.clear()
        row = self.context.batch.extend(np.ones(count, np.int32), 0, 0, last=True)
        assert self.context.decode() == 0
        return int(self.context.logits(row).argmax())

    def raw(self, what, path):
        """The same without our fences: the process should not live to answer."""
        C, handle, memory = self.C, self.context.handle, self.context.memory
        match what:
            case "row":
                C.llama_sampler_sample(self.chain, handle, 3)
            case "no row":
                C.llama_sampler_sample(self.chain, handle, 60)
            case "tokens":
                self.decode_many(C, self.make().handle, 65)
            case "threads":
                given = C.llama_context_default_params()
                given.n_ctx, given.n_threads, given.n_threads_batch = 256, 100_000, 100_000
                self.decode_many(C, C.llama_init_from_model(self.model.handle, given), 40)
            case "sequence":
                C.llama_memory_seq_rm(memory, 300, 0, -1)
            case "copied sequence":
                C.llama_memory_seq_cp(memory, 0, 300, 0, 4)
            case "two threads":
                decode = [threading.Thread(target=self.decode_often) for _ in range(2)]
                for thread in decode:
                    thread.start()
                for thread in decode:
                    thread.join()
            case "adapter":
                C.llama_adapter_lora_init(self.model.handle, path.encode())
            case "a batch smaller than the sequences":
                given = C.llama_context_default_params()
                given.n_ctx, given.n_seq_max, given.n_batch, given.n_ubatch = 512, 64, 32, 32
                C.llama_init_from_model(self.model.handle, given)
        return "alive"

    def decode_many(self, C, handle, count):
        tokens = (C.llama_token * count)(*[1] * count)  # the batch keeps only a pointer
        return C.llama_decode(handle, C.llama_batch_get_one(tokens, count))

    def decode_often(self):
        for _ in range(300):
            self.C.llama_memory_seq_rm(self.context.memory, 0, -1, -1)
            self.decode_many(self.C, self.context.handle, 32)

    # --- with them ---

    def row(self, at):
        return self.context.logits(at).argmax()

    def stale_row(self):
        """A row of an earlier step, which had logits then."""
        self.read(20)
        self.read(4)
        return self.context.logits(19).argmax()

    def row_of_a_failed_step(self):
        batch = self.context.batch
        batch.clear()
        row = batch.add(1, 9_999, 0)  # a gap in the positions
        try:
            self.context.decode()
        except RuntimeError:
            return self.context.logits(row).argmax()

    def tokens(self, count):
        self.context.batch.used = count
        return self.context.decode()

    def long_prompt(self, count):
        batch = self.context.batch
        batch.clear()
        return batch.extend(np.ones(count, np.int32), 0, 0, last=True)

    def sequence(self, at, how):
        doing = {
            "forget": lambda: self.context.forget(at),
            "copy": lambda: self.context.copy(0, at, 2),
            "copied": lambda: self.context.copy(at, 0, 2),
            "cut": lambda: self.context.cut_out(at, 0, 1, lambda: False),
            "length": lambda: self.context.length(at),
            "state": lambda: self.context.state(at),
            "restore": lambda: self.context.restore(at, b"x" * 64),
        }
        return doing[how]()

    def another(self, **more):
        made = self.make(**more)
        made.batch.clear()
        made.batch.extend(np.ones(4, np.int32), 0, 0, last=True)
        code = made.decode()
        made.close()
        return code

    def two_threads(self):
        """One of both is refused, whoever came second."""
        refusals = []

        def step():
            for _ in range(200):
                self.context.batch.used = 32
                try:
                    self.context.decode()
                except RuntimeError as error:
                    refusals.append(str(error))

        self.context.forget(0)
        self.context.batch.clear()
        self.context.batch.extend(np.ones(32, np.int32), 0, 0, last=True)
        threads = [threading.Thread(target=step) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return next((said for said in refusals if "two threads" in said), "never at once")

    def adapter(self, path):
        from extensions.llama_cpp.native.adapters import Loras  # noqa: PLC0415 - as above

        loras = Loras(self.model, self.context, self.log, check_gguf(self.path))
        loras.use(((path, 1.0),))
        return self.read(4)

    def null_adapter(self, path):
        """A null pointer of ctypes is an object: only its truth tells."""
        handle = self.C.llama_adapter_lora_init(self.model.handle, path.encode())
        return f"{handle is not None} {bool(handle)} {bool(ctypes.cast(handle, ctypes.c_void_p))}"
