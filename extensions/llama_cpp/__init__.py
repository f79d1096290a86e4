"""Loads GGUF models with llama.cpp: through an engine that is built here, or a prebuilt one."""

from pathlib import Path
from typing import Any

from extensions.engine_kit.api import BannedStrings
from extensions.llama_cpp.choosing import Build, Choosing, Stop, Use
from extensions.llama_cpp.honoured import HONOURED
from extensions.llama_cpp.loader import LlamaLoader
from extensions.llama_cpp.options import FLAGS, Options, with_flags
from extensions.llama_cpp.prebuilt_sampling import HONOURED as PREBUILT
from kernel.api import (
    LOADERS,
    PANELS,
    SAMPLERS,
    Client,
    Extension,
    JobProgress,
    LoadFailed,
    NoModel,
    Panel,
    Samplers,
    Started,
    check,
    safe_path,
)

UNBUILT = (
    "The prebuilt engine runs it. A native one, built once in about seven minutes, serves several "
    "replies at once faster."
)


def accepts(path: Path) -> bool:
    return path.suffix == ".gguf"


def flags(ext: Extension[Any]) -> tuple[dict[str, Any], str]:
    """The options that the command line says, and why some of it is left out."""
    said = {name: value for name in FLAGS if (value := ext.flag(name)) is not None}
    wrong = {name: why for name in said for why in check(Options, {name: said[name]})[1].values()}
    good, _ = check(Options, {name: value for name, value in said.items() if name not in wrong})
    return good, " ".join(f"The flag --{name} is left out: {why}" for name, why in wrong.items())


async def setup(ext: Extension[Any]) -> None:
    choosing, (said, wrong) = Choosing(ext), flags(ext)
    if wrong:
        ext.log.warning("%s", wrong)
    loader = LlamaLoader(
        id="llama_cpp",
        label="llama.cpp",
        engine="worker.py:Engine",
        Options=with_flags(said) if said else Options,
        accepts=accepts,
        ext=ext,
    )
    loader.before, loader.given = choosing.install, said
    loader.about = "/settings/llama_cpp"

    def told(built: bool) -> None:
        loader.note = " ".join(filter(None, (wrong, "" if built else UNBUILT)))
        prebuilt = not ext.variant or said.get("engine") == "prebuilt" or said.get("mmproj")
        loader.samplers = PREBUILT if prebuilt else HONOURED

    choosing.told = told
    await choosing.look()

    @ext.on(Build)
    async def build(action: Build, client: Client) -> None:
        choosing.build(action.variant, client)

    @ext.on(Use)
    async def use(action: Use, client: Client) -> None:
        await choosing.use(action.variant)

    @ext.on(Stop)
    async def stop(action: Stop, client: Client) -> None:
        choosing.stop()

    @ext.on(JobProgress)
    async def progress(event: JobProgress) -> None:
        choosing.heard(event)

    if name := ext.flag("embedding-model"):
        vectors(ext, name)

    ext.add(LOADERS, loader)
    ext.add(SAMPLERS, Samplers("llama.cpp", BannedStrings))
    ext.add(PANELS, Panel("settings", "settings.html", choosing.section, title="llama.cpp"))


def vectors(ext: Extension[Any], name: str) -> None:
    """Load the model that makes vectors into a slot of its own, once all have started."""
    slot = ext.slot("embedding")
    try:
        path = safe_path(ext.models, *name.split("/"), follow=True)
    except ValueError as error:
        return ext.log.warning("--embedding-model: %s", error)
    if ext.starting:
        ext.spawn(slot.expect(path), "expect vectors")

    async def load() -> None:
        try:
            await slot.load(path, "llama_cpp")
        except (LoadFailed, NoModel) as error:
            ext.log.warning("--embedding-model: %s", error)

    @ext.on(Started)
    async def started(event: Started) -> None:
        ext.spawn(load(), "embedding model")
