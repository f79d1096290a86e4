"""What every way of talking needs: fitting into the context, stopping strings, templates."""

from collections.abc import Mapping
from typing import Annotated, Any

from kernel.api import (
    PANELS,
    Action,
    Connected,
    Extension,
    Meta,
    Panel,
    SettingsChanged,
    SlotChanged,
    Struct,
)

from .api import PROMPTS, TEMPLATES
from .editor import Editor
from .library import Library
from .service import Prompts


class Settings(Struct, frozen=True):
    """What was chosen for models."""

    templates: Annotated[
        Mapping[str, str],
        Meta(description="The instruction template of a model, one “model: template” a line."),
    ] = {}


class Open(Action, frozen=True):
    """Look at a template; no name: the model's own."""

    name: str = ""


class Preview(Action, frozen=True):
    """Show what a sample conversation becomes."""

    source: str = ""


class Save(Action, frozen=True):
    """Keep a template in the data folder."""

    name: str
    source: str


class Delete(Action, frozen=True):
    """Move one of the user's own to the trash."""

    name: str


class Restore(Action, frozen=True):
    """Take it back, also instead of another one of its name."""

    kept: str
    instead: bool = False


class Use(Action, frozen=True):
    """Choose a template for the loaded model; no name: as if nothing was chosen."""

    name: str = ""


async def setup(ext: Extension[Any]) -> None:
    folder = ext.data_root / "instruction-templates"
    library = Library(folder, lambda: ext.settings.templates, lambda: ext.get(TEMPLATES))
    prompts = ext.add(PROMPTS, Prompts(ext, library))
    editor = Editor(ext, library, prompts.choose_for)
    ext.add(PANELS, Panel("settings", "editor.html", editor.context, title="Instruction templates"))

    ext.on(Connected)(lambda _: ext.thread(prompts.prepare))
    ext.on(Open)(lambda a, client: editor.open(client, a.name))
    ext.on(Preview)(lambda a, client: editor.show(client, a.source))
    ext.on(Save)(lambda a, client: editor.save(client, a.name, a.source))
    ext.on(Delete)(lambda a, client: editor.delete(client, a.name))
    ext.on(Restore)(lambda a, client: editor.restore(client, a.kept, a.instead))
    ext.on(Use)(lambda a, client: editor.use(client, a.name))

    @ext.on(SlotChanged)
    async def loaded(event: SlotChanged) -> None:
        if event.slot == ext.slot().name and event.state != "loading":
            await prompts.tell_missing()

    @ext.on(SettingsChanged)
    async def keep_talking(_: SettingsChanged) -> None:
        """The next turn reads the settings anew: no reply has to stop for that."""
