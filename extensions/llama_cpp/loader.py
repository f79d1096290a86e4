"""The loader: as for every worker; adapters are named by their files below loras/, and what the
model remembers is kept between two loads."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from extensions.llama_cpp.meaning import weighted
from extensions.llama_cpp.weighing import Headers, files_beside, weigh
from kernel.api import (
    Extension,
    Fit,
    Generation,
    Memory,
    Refused,
    Request,
    WorkerDied,
    WorkerError,
    WorkerLoader,
    WorkerModel,
    safe_path,
)

Report = Callable[[float, str], None]
ENGINES = {True: 50_000_000, False: 56_000_000}
"""Bytes that the prebuilt engine (and the native one) take without a model, as it was measured."""
SEEING = ("native-cuda", "native-vulkan")
"""The builds that use graphics cards."""
PATIENCE = 10
"""Seconds that keeping what a model remembers may hold up its end."""


class LlamaModel(WorkerModel):
    """A model whose adapters lie below `loras`, and which leaves what it remembers in `states`."""

    loras: Path
    states: Path | None = None

    def generate(self, request: Request) -> Generation:
        """As the worker does; raises Refused for an adapter that is not there."""
        if request.adapters:
            found = tuple((adapter(self.loras, name), scale) for name, scale in request.adapters)
            request = msgspec.structs.replace(request, adapters=found)
        return super().generate(request)

    async def close(self) -> None:
        if self.states and not self.died.done():
            with suppress(WorkerError, WorkerDied, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self.worker.call("save", folder=str(self.states))
        await super().close()


class LlamaLoader(WorkerLoader):
    """Loads GGUF files."""

    def __init__(self, ext: "Extension[Any]", **more: Any) -> None:
        super().__init__(ext, **more)
        self._loras, self._states = ext.loras, ext.data / "states"
        self.before: Callable[[Report], Awaitable[None]] | None = None
        """What comes before the environment is made: a compiler's work."""
        self.engine = 0
        """Bytes that an engine of its own takes without a model; 0 is one of llama.cpp's two."""
        self._headers = Headers()

    async def install(self, report: Report) -> None:
        if self.before:
            await self.before(report)
        await super().install(report)

    async def open(self, path: Path, options: Any, report: Report) -> WorkerModel:
        lora = tuple(self._found(line, path) for line in options.lora)
        options = msgspec.structs.replace(options, lora=lora)
        opened = await super().open(path, options, report)
        model = LlamaModel(opened.worker, opened.info)
        model.loras = self._loras
        if options.keep_cache and "state" in opened.info.capabilities:
            model.states = self._states
            with suppress(WorkerError):
                await opened.worker.call("restore", folder=str(self._states))
        return model

    def weigh(self, path: Path, options: Any, memories: Sequence[Memory]) -> Fit:
        """What the options make of it, by the header alone; blocks while that is read."""
        path = next(iter(sorted(path.glob("*.gguf"))), path) if path.is_dir() else path
        try:
            file = self._headers.of(path)
        except Refused as error:
            return Fit("not", str(error))
        given = msgspec.structs.asdict(options)
        variant = self._ext.variant
        prebuilt = not self.engine and (
            not variant or options.engine == "prebuilt" or bool(options.mmproj)
        )
        seen = memories if variant in SEEING and not prebuilt else memories[:1]
        return weigh(
            file,
            given,
            seen,
            prebuilt=prebuilt,
            engine=self.engine or ENGINES[prebuilt],
            beside=files_beside(given, path, self._loras),
        )

    def _found(self, line: str, model: Path) -> str:
        """The same adapter by its file, where the name alone means one below `loras`."""
        name, weight = weighted(line)
        if Path(name).is_file() or (model.parent / name).is_file():
            return line
        return f"{adapter(self._loras, name)} = {weight}"


def adapter(folder: Path, name: str) -> str:
    """The file of an adapter by its name below the folder: a GGUF file, with or without its
    ending, or a folder with one in it; raises Refused."""
    try:
        path = safe_path(folder, *name.split("/"))
    except ValueError as unsafe:
        raise Refused(str(unsafe)) from None
    for found in (path, path.with_name(f"{path.name}.gguf"), *sorted(path.glob("*.gguf"))):
        if found.is_file() and found.suffix == ".gguf":
            return str(found)
    files = (*folder.glob("*.gguf"), *folder.glob("*/*.gguf"))
    there = sorted(each.relative_to(folder).as_posix() for each in files)
    raise Refused(
        f"There is no adapter “{name}” below {folder.name}/. "
        + (f"There: {', '.join(there[:20])}." if there else "Put one there, as a GGUF file.")
    )
