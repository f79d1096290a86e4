"""Pictures of the user's own in messages: chosen, pasted or dropped, kept, shown, and seen."""

from typing import Any

from extensions.chat.api import ENCLOSURES
from extensions.conversations.api import STORE
from kernel.api import (
    HISTORY,
    PANELS,
    REQUEST,
    ROUTES,
    Action,
    Client,
    Disconnected,
    Extension,
    Panel,
    Phase,
    Router,
    Routes,
)

from .desk import Desk
from .seeing import Seeing
from .serving import routes


class Look(Action, frozen=True):
    """What waits at the text box; `box` is a word of the page's own, which outlives a reload."""

    box: str
    shown: bool = False
    """The page shows pictures there."""


class Remove(Action, frozen=True):
    """Take a picture off the text box again; without its id, what is said of those refused."""

    picture: str


async def setup(ext: Extension[Any]) -> None:
    store = ext.one(STORE)
    desk, seeing = Desk(ext, store), Seeing(ext)
    ext.on(Look)(lambda a, client: desk.look(client, a.box, shown=a.shown))
    ext.on(Remove)(lambda a, client: desk.remove(client, a.picture))
    ext.on(HISTORY, phase=Phase.EARLY)(seeing.newest)
    ext.on(REQUEST)(seeing.of_model)

    @ext.on(Disconnected)
    async def disconnected(event: Disconnected) -> None:
        desk.left(event.client)

    async def button(client: Client | None, subject: str) -> dict[str, Any]:
        return {}

    ext.add(ROUTES, Routes(Router(routes(ext, desk, store)), "page"))
    ext.add(ENCLOSURES, desk)
    ext.add(PANELS, Panel("composer", "button.html", button))
