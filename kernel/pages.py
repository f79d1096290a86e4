"""Templates and panels: how contributions become a page."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FunctionLoader, select_autoescape
from markupsafe import Markup

from kernel.clients import Client
from kernel.points import Entry, Point, Registry

Region = Literal[
    "tab", "sidebar", "composer", "message_actions", "message_footer", "status", "settings",
    "command", "shortcut",
]  # fmt: skip


async def _nothing(client: Client | None, subject: str) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Panel:
    """A template shown in a region of the page.

    `context` must return what is true at the moment it returns (read last what changes often):
    what was pushed before that moment is dropped from the snapshot, what comes later follows it.
    """

    region: Region
    template: str
    context: Callable[[Client | None, str], Awaitable[Mapping[str, Any]]] = field(default=_nothing)
    order: int = 0
    title: str = ""
    icon: str = ""
    """A tab's icon: the path data of a 24 x 24 drawing."""


PANELS: Point[Panel] = Point("panels", "Fragments of the page.")


def in_region(registry: Registry, region: str) -> list[Entry[Panel]]:
    """The panels of a region, in their order and then the user's."""
    found = [entry for entry in registry.entries(PANELS) if entry.value.region == region]
    return sorted(found, key=lambda entry: entry.value.order)


class Pages:
    """Renders the kernel's templates, and `<id>/x.html` of extensions while they run."""

    def __init__(self, kernel: Path | None, of: Callable[[str], Path | None]) -> None:
        self._kernel, self._of = kernel, of
        self._jinja = Environment(
            loader=FunctionLoader(self._load),
            autoescape=select_autoescape(),
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, template: str, **context: Any) -> Markup:
        """HTML that can be sent: half a surrogate pair, as in a file's odd name, becomes "?"."""
        html = self._jinja.get_template(template).render(**context)
        return Markup(html.encode(errors="replace").decode())

    def _load(self, name: str) -> tuple[str, str, Callable[[], bool]] | None:
        id, _, rest = name.partition("/")
        folder = self._of(id) if rest else self._kernel
        if not folder:
            return None
        path = (folder / (rest or name)).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return None
        stamp = path.stat().st_mtime_ns

        def current() -> bool:
            owner = self._of(id) if rest else self._kernel
            return owner is not None and path.is_file() and path.stat().st_mtime_ns == stamp

        return path.read_text("utf-8"), str(path), current
