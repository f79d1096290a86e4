"""The loader: as for every worker; adapters are named by their files below loras/, and what the
model remembers is kept between two loads."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from extensions.engine_kit.api import Fit, Gguf, Memory
from extensions.llama_cpp.meaning import beside, weighted
from extensions.llama_cpp.refusals import refuse, runs_native
from extensions.llama_cpp.weighing import Headers, beyond, files_beside, weigh
from kernel.api import (
    Everyone,
    Extension,
    Generation,
    Refused,
    Request,
    WorkerDied,
    WorkerError,
    WorkerLoader,
    WorkerModel,
    safe_path,
)

Report = Callable[[float, str], None]
ENGINES = {True: 45_000_000, False: 52_000_000}
"""Bytes that the prebuilt engine (and the native one) take without a model, as it was measured."""
SEEING = ("native-cuda", "native-vulkan")
"""The builds that use graphics cards."""
PATIENCE = 5
"""Seconds that keeping what a model remembers may hold up its end; the kernel gives ten for all of
it, and an engine that hangs answers nothing."""


class LlamaModel(WorkerModel):
    """A model whose adapters lie below `loras`, and which leaves what it remembers in `states`."""

    loras: Path
    own: Sequence[str] = ()
    """The files of the adapters that it was loaded with; they may be gone since."""
    states: Path | None = None

    def generate(self, request: Request) -> Generation:
        """As the worker does; raises Refused for an adapter that is not there, unless its weight
        is 0."""
        if request.adapters:
            found = self._files(request.adapters)
            request = msgspec.structs.replace(request, adapters=found)
        return super().generate(request)

    def _files(self, adapters: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
        found = list[tuple[str, float]]()
        for name, scale in adapters:
            try:
                found.append((adapter(self.loras, name), scale))
            except Missing:
                if scale:
                    raise
        # An engine that is told of none uses those that it was loaded with.
        return tuple(found) or tuple((path, 0.0) for path in self.own)

    async def close(self) -> None:
        """Keep what it remembers, if that is soon done; the engine ends in any case."""
        try:
            if self.states and not self.died.done():
                with suppress(WorkerError, WorkerDied, TimeoutError):
                    async with asyncio.timeout(PATIENCE):
                        await self.worker.call("save", folder=str(self.states))
        finally:
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
        self.refuses: Callable[[Gguf, Path, Mapping[str, Any]], None] | None = None
        """What else an engine of its own refuses, by a file's header and the options."""
        self._headers = Headers()
        self._told: tuple[Path, list[str]] | None = None
        """The model that was loaded last, and what was said of it."""

    async def install(self, report: Report) -> None:
        if self.before:
            await self.before(report)
        await super().install(report)

    async def open(self, path: Path, options: Any, report: Report) -> WorkerModel:
        """Load it, without adapters that are not there any more and with no more context than it
        reaches: that is told."""
        lora, gone = self._adapters(options.lora, file_in(path))
        own = [beside(weighted(line)[0], str(file_in(path))) for line in lora]
        opened = await super().open(path, msgspec.structs.replace(options, lora=lora), report)
        name, cells, left = opened.info.name, opened.info.context_length, list[str]()
        if gone:
            left.append(self._without(gone, f"{name} was loaded"))
        if short := beyond(msgspec.structs.asdict(options), cells):
            left.append(f"{name} was loaded with a context of {cells:,} tokens. {short}")
        self._tell(path, left)
        model = LlamaModel(opened.worker, opened.info)
        model.loras = self._loras
        model.own = own
        if options.keep_cache and "state" in opened.info.capabilities:
            model.states = self._states
            try:
                with suppress(WorkerError):
                    await opened.worker.call("restore", folder=str(self._states))
            except BaseException:  # Given up: as in the load itself, no process is left.
                await asyncio.shield(opened.worker.close(grace=0))
                raise
        return model

    def refuse(self, path: Path, options: Any) -> None:
        """Raise Refused for what `open` would refuse, as far as headers and options tell; blocks
        while they are read."""
        path = file_in(path)
        lora, _ = self._adapters(options.lora, path)
        file, given = self._headers.of(path), {**msgspec.structs.asdict(options), "lora": lora}
        if self.refuses:
            self.refuses(file, path, given)
        refuse(file, path, given, prebuilt=self._prebuilt(options))

    def weigh(self, path: Path, options: Any, memories: Sequence[Memory]) -> Fit:
        """What the options make of it, by the header alone; blocks while that is read."""
        path = file_in(path)
        try:
            self.refuse(path, options)
        except Refused as error:
            return Fit("not", str(error))
        given, prebuilt = msgspec.structs.asdict(options), self._prebuilt(options)
        seen = memories if self._ext.variant in SEEING and not prebuilt else memories[:1]
        fit = weigh(
            self._headers.of(path),
            given,
            seen,
            prebuilt=prebuilt,
            engine=self.engine or ENGINES[prebuilt],
            beside=files_beside(given, path, self._loras),
        )
        _, gone = self._adapters(options.lora, path)
        said = f"{fit.said} {self._without(gone, 'It loads')}" if gone else fit.said
        return msgspec.structs.replace(fit, said=said)

    def _tell(self, path: Path, left: list[str]) -> None:
        """Say what was left out, but not again where the same model comes back: after a load that
        failed, or after its engine ended."""
        for said in left:
            self._ext.log.warning("%s", said)
            if (path, left) != self._told:
                self._ext.tell(said, Everyone())
        self._told = path, left

    def _prebuilt(self, options: Any) -> bool:
        """Whether the prebuilt engine would run it; raises Refused where none can."""
        built, images = bool(self._ext.variant), bool(options.mmproj)
        return not self.engine and not runs_native(options.engine, images=images, built=built)

    def _adapters(self, lines: Sequence[str], model: Path) -> tuple[tuple[str, ...], list[str]]:
        """The adapters by their files, and the names of those that are not there."""
        found, gone = list[str](), list[str]()
        for line in lines:
            try:
                found.append(self._found(line, model))
            except Missing:
                gone.append(weighted(line)[0])
        return tuple(found), gone

    def _found(self, line: str, model: Path) -> str:
        """The same adapter by its file, where the name alone means one below `loras`."""
        name, weight = weighted(line)
        if Path(name).is_file() or (model.parent / name).is_file():
            return line
        return f"{adapter(self._loras, name)} = {weight}"

    def _without(self, gone: Sequence[str], how: str) -> str:
        """The sentence about adapters that are not there; `how` is said of the model."""
        several = len(gone) > 1
        which, them = ("adapters", "them") if several else ("adapter", "it")
        return (
            f"{how} without the {which} {', '.join(gone)}, which {'are' if several else 'is'} not "
            f"below {self._loras.name}/. Put {them} there, or take {them} out of the option LoRA."
        )


class Missing(Refused):
    """There is no adapter of that name."""


def file_in(path: Path) -> Path:
    """The GGUF file of a folder, or the file itself."""
    return next(iter(sorted(path.glob("*.gguf"))), path) if path.is_dir() else path


def adapter(folder: Path, name: str) -> str:
    """The file of an adapter by its name below the folder: a GGUF file, with or without its
    ending, or a folder with one in it; raises Refused."""
    try:
        path = safe_path(folder, *name.split("/"))
    except ValueError as unsafe:
        raise Refused(str(unsafe)) from None
    for found in (path, path.with_name(f"{path.name}.gguf"), *sorted(path.glob("*.gguf"))):
        if found.is_file() and found.suffix == ".gguf":
            return str(found.resolve())  # As an engine knows those that it was loaded with.
    files = (*folder.glob("*.gguf"), *folder.glob("*/*.gguf"))
    there = sorted(each.relative_to(folder).as_posix() for each in files)
    raise Missing(
        f"There is no adapter “{name}” below {folder.name}/. "
        + (f"There: {', '.join(there[:20])}." if there else "Put one there, as a GGUF file.")
    )
