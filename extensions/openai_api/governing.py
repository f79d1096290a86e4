"""What an administrator does: load and unload models and adapters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from extensions.api_kit.api import (
    Call,
    Endpoint,
    Problem,
    Programs,
    json,
    no_such_model,
    not_loaded,
    refused,
)
from extensions.models.api import ModelFile, Models
from kernel.api import Loader, LoadFailed, NoModel, Refused, check

from .adapters import Adapters
from .internal import DONE
from .standing import Standing

NEEDLESS = frozenset({
    "tensorcores", "no_mul_mat_q", "n_gqa", "rms_norm_eps", "trust_remote_code", "no_use_fast",
    "logits_all",
})  # fmt: skip
"""What text-generation-webui has to be told of a model, and an engine here does by itself or reads
in its file: without it the replies are the same."""


class Info(msgspec.Struct):
    """What is loaded."""

    model_name: str
    lora_names: list[str]
    loader: str


class Names(msgspec.Struct):
    """The models that there are."""

    model_names: list[str]


class Load(msgspec.Struct, kw_only=True):
    """Which model, and how: `args` are the loader's options, and `loader` among them its id;
    `settings` count nothing, for each request brings its own."""

    model_name: str
    args: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    instruction_template: str | None = None
    instruction_template_str: str | None = None


class Loras(msgspec.Struct):
    """Adapters by name."""

    lora_names: list[str]


class Governing:
    """The routes; those that change something are an administrator's."""

    def __init__(
        self,
        programs: Programs,
        models: Models,
        loaders: Callable[[], Iterable[Loader]],
        adapters: Adapters,
        standing: Standing,
    ) -> None:
        self._programs, self._models, self._loaders = programs, models, loaders
        self._adapters, self._standing = adapters, standing

    def endpoints(self) -> tuple[Endpoint, ...]:
        def ours(name: str, answer: Any, **more: Any) -> Endpoint:
            return Endpoint(f"/v1/internal/{name}", answer, admin=True, **more)

        def seen(name: str, answer: Any, **more: Any) -> Endpoint:
            return Endpoint(f"/v1/internal/{name}", answer, "GET", **more)

        return (
            seen("model/info", self.info, gives=Info, summary="What is loaded."),
            seen("model/list", self.names, gives=Names, summary="The models there are."),
            ours("model/load", self.load, takes=Load, gives=str, summary="Load a model."),
            ours("model/unload", self.unload, gives=str, summary="Unload it."),
            seen("lora/list", self.loras, gives=Loras, summary="The adapters there are."),
            ours("lora/load", self.use, takes=Loras, gives=str,
                 summary="Apply adapters, for programs and pages, instead of others."),
            ours("lora/unload", self.drop, gives=str, summary="Apply none."),
        )  # fmt: skip

    async def info(self, call: Call) -> Response:
        info = self._programs.info()
        if not info:
            return json(Info("None", [], ""))
        await self._models.look()
        # As `names` has it: programs compare the two, and load where they differ.
        listed = (file.name for file in self._models.files if str(file.path) == info.path)
        name = next(listed, self._programs.called(info))
        return json(Info(name, [*self._adapters.names], info.loader))

    async def names(self, call: Call) -> Response:
        await self._models.look()
        return json(Names([file.name for file in self._models.files]))

    async def load(self, call: Call) -> Response:
        body: Load = call.read(Load)
        await self._load(await self._find(body.model_name, "model_name"), dict(body.args or {}))
        self._standing.set(body.instruction_template, body.instruction_template_str)
        return json(DONE)

    async def unload(self, call: Call) -> Response:
        await self._models.unload()
        return json(DONE)

    async def loras(self, call: Call) -> Response:
        return json({"lora_names": await self._adapters.found()})

    async def use(self, call: Call) -> Response:
        names = call.read(Loras).lora_names
        await self._programs.awake()
        self._programs.model()  # Without one nothing can be applied, and it says so.
        await self._adapters.use(names)
        return json(DONE)

    async def drop(self, call: Call) -> Response:
        await self._adapters.use(())
        return json(DONE)

    # --- inside ------------------------------------------------------------------------

    async def _find(self, name: str, param: str) -> ModelFile:
        # As `names` told it first: a folder may be called as a file beside it, less its ending.
        exact = next((file for file in self._models.files if file.name == name), None)
        if file := exact or await self._models.find(name):
            return file
        fault = no_such_model(name).fault
        raise Problem(msgspec.structs.replace(fault, param=param))

    async def _load(self, file: ModelFile, args: dict[str, Any]) -> None:
        """With what is written of it among the loader's options; raises Problem."""
        wish = str(args.pop("loader", None) or "")
        loader = next((each for each in self._loaders() if takes(each, file, wish)), None)
        if not loader:
            says = f"args.loader: {wish or 'No loader'} is not running, or does not take this file."
            raise refused(f"{says} Running: {self._running()}.", "args.loader", "invalid_value")
        good, errors = check(loader.Options, args)
        for name, error in errors.items():
            if name in loader.Options.__struct_fields__ or asks(name, args):
                raise refused(f"args.{name}: {error}", f"args.{name}", "invalid_value")
        try:
            await self._models.load(file.name, loader.id, good)
        except (LoadFailed, NoModel, Refused) as error:
            raise not_loaded(error) from error

    def _running(self) -> str:
        return ", ".join(each.id for each in self._loaders()) or "none"


def asks(name: str, args: Mapping[str, Any]) -> bool:
    """Whether one that is no option here would change anything."""
    value = args.get(name, args.get(name.replace("_", "-"), True))
    nothing = any(value is each for each in (None, False)) or value in ("", "None")
    return name not in NEEDLESS and not nothing


def takes(loader: Loader, file: ModelFile, wish: str) -> bool:
    """Whether it is this one, by its id or as text-generation-webui writes it (llama.cpp)."""
    return loader.id in file.loaders and (not wish or bare(wish) == bare(loader.id))


def bare(name: str) -> str:
    """Letters and digits alone."""
    return "".join(filter(str.isalnum, name.lower()))
