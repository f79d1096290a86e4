"""The prebuilt engine of llama.cpp, for which counting tokens may take no time at all."""

from pathlib import Path

from kernel.worker_host import load_code

load_code(f"{Path(__file__).parents[2] / 'extensions' / 'llama_cpp' / 'worker.py'}:Engine")

from extensions.llama_cpp import prebuilt  # noqa: E402 - after its package was made

prebuilt.PATIENCE = 0.001


class Engine(prebuilt.Prebuilt):
    pass
