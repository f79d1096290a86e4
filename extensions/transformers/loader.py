"""The loader: as for every worker; adapters are named by their folders below loras/, and it says
beforehand what a model would take."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from extensions.engine_kit.api import Fit, Memory
from extensions.transformers.configs import check_config
from extensions.transformers.weighing import Folders, fast_formats, weigh
from kernel.api import Extension, Generation, Refused, Request, WorkerLoader, WorkerModel, safe_path

Report = Callable[[float, str], None]


class Adapted(WorkerModel):
    """A model whose adapters lie below `loras`."""

    loras: Path

    def generate(self, request: Request) -> Generation:
        """As the worker does; raises Refused for an adapter that is not there."""
        if request.adapters:
            found = tuple((adapter(self.loras, name), weight) for name, weight in request.adapters)
            request = msgspec.structs.replace(request, adapters=found)
        return super().generate(request)


class Loader(WorkerLoader):
    """Loads folders of safetensors."""

    def __init__(self, ext: "Extension[Any]", **more: Any) -> None:
        super().__init__(ext, **more)
        self._loras = ext.loras
        self.trusts = False
        """Whether models may run programs of their own."""
        self._folders, self._fast = Folders(), fast_formats()

    async def open(self, path: Path, options: Any, report: Report) -> WorkerModel:
        opened = await super().open(path, options, report)
        model = Adapted(opened.worker, opened.info)
        model.loras = self._loras
        return model

    def refuse(self, path: Path, options: Any) -> None:
        """Raise Refused for what `open` would refuse, by the headers alone; blocks while they are
        read."""
        self._folders.of(path)
        check_config(path, self.trusts)

    def weigh(self, path: Path, options: Any, memories: Sequence[Memory]) -> Fit:
        """By the headers alone; blocks while they are read."""
        try:
            self.refuse(path, options)
        except Refused as error:
            return Fit("not", str(error))
        folder = self._folders.of(path)
        seen = memories[:1] if self._ext.variant == "cpu" else memories
        return weigh(folder, msgspec.structs.asdict(options), seen, fast=self._fast)


def adapter(folder: Path, name: str) -> str:
    """An adapter's folder by its name below this one; raises Refused."""
    try:
        path = safe_path(folder, *name.split("/"))
    except ValueError as unsafe:
        raise Refused(str(unsafe)) from None
    if not (path / "adapter_config.json").is_file():
        raise Refused(
            f"There is no adapter “{name}” below {folder.name}/ in PEFT's form: a folder with an "
            "adapter_config.json. Put one there."
        )
    return str(path)
