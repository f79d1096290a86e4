"""How conversations look: one file of CSS, of those that come along or of the user's own."""

from typing import Annotated, Any

from kernel.api import (
    PANELS,
    ROUTES,
    Action,
    Client,
    Everyone,
    Extension,
    Meta,
    Panel,
    Refused,
    Route,
    Router,
    Routes,
    SettingsChanged,
    Struct,
)

from .styles import PLAIN, Styles


class Settings(Struct, frozen=True):
    """Which style conversations have."""

    style: Annotated[str, Meta(description="The name of a style; plain is the page's own.")] = PLAIN


class Choose(Action, frozen=True):
    """Use another style, on all pages."""

    style: str


async def setup(ext: Extension[Settings]) -> None:
    styles = Styles(ext.folder / "styles", ext.data)

    async def sheet(client: Client | None = None, subject: str = "") -> dict[str, Any]:
        """The file in use; one that is gone is the page's own look."""
        return {"href": await ext.thread(styles.address, ext.settings.style)}

    async def choice(client: Client | None = None, subject: str = "") -> dict[str, Any]:
        names = await ext.thread(styles.names)
        return {"names": names, "chosen": ext.settings.style, "folder": str(styles.own)}

    @ext.on(Choose)
    async def choose(action: Choose, client: Client) -> None:
        if action.style not in await ext.thread(styles.names):
            raise Refused(f"There is no style {action.style!r}. Choose one of the list.")
        await ext.thread(ext.configure, {"style": action.style})

    @ext.on(SettingsChanged)
    async def changed(_: SettingsChanged) -> None:
        await ext.push("_sheet.html", Everyone(), oob=True, **await sheet())
        chosen = await choice()
        await ext.push("_choice.html", Everyone(), oob=True, **chosen)
        if ext.settings.style not in chosen["names"]:
            text = f"There is no style “{ext.settings.style}”: conversations look plain. "
            ext.tell(text + "Settings, Chat styles, lists those there are.", Everyone(), "error")

    ext.add(ROUTES, Routes(Router([Route("/ext/chat_styles/{name}", styles.serve)]), "page"))
    ext.add(PANELS, Panel("sidebar", "_sheet.html", sheet))
    ext.add(PANELS, Panel("settings", "section.html", choice, title="Chat styles"))
    ext.add(PANELS, Panel("command", "command.html", choice, order=30, title="Chat styles"))
