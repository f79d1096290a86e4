"""Every address that the server answers at, read off the running application."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute

from kernel.api import PANELS, ROUTES
from kernel.testing import App

Kind = Literal["http", "websocket"]


class Place(NamedTuple):
    """An address with the class of who may ask there."""

    owner: str
    path: str
    """With `{name}` for what varies."""
    kind: Kind
    methods: tuple[str, ...]
    access: str
    sample: str
    """An address that leads there."""


class Opaque(AssertionError):
    """An application whose addresses cannot be read off."""


def places(app: App) -> list[Place]:
    """The kernel's own, those of tabs, and those of extensions."""
    return [*kernels(app), *tabs(app), *extensions(app)]


def kernels(app: App) -> Iterator[Place]:
    """What kernel/app.py and kernel/security.py answer themselves; `test_inventory` compares."""
    running = [record for record in app.kernel.records.values() if record.handle]
    asset = next(file for r in running for file in (r.folder / "static").glob("*.css"))
    owner = asset.parent.parent.name
    for path, kind, methods, sample in (
        ("/static/{file}", "http", ("GET",), "/static/app.css"),
        ("/ext/{id}/static/{file}", "http", ("GET",), f"/ext/{owner}/static/{asset.name}"),
        ("/", "http", ("GET",), "/"),
        ("/{anything}", "http", ("GET",), "/no/such/page"),
        ("/ws", "websocket", (), "/ws?path=/"),
        ("/login", "http", ("GET", "POST"), "/login"),
        ("/logout", "http", ("POST",), "/logout"),
    ):
        yield Place("kernel", path, kind, methods, access(app, kind, sample), sample)  # type: ignore[arg-type]


def tabs(app: App) -> Iterator[Place]:
    for entry in app.kernel.registry.entries(PANELS):
        if entry.value.region == "tab":
            for path in (f"/{entry.owner}", f"/{entry.owner}/x"):
                yield Place(entry.owner, path, "http", ("GET",), access(app, "http", path), path)


def extensions(app: App) -> Iterator[Place]:
    for entry in app.kernel.registry.entries(ROUTES):
        for route, path in walk(entry.value.app, entry.owner):
            kind: Kind = "websocket" if isinstance(route, WebSocketRoute) else "http"
            methods = tuple(sorted(getattr(route, "methods", None) or ())) if kind == "http" else ()
            sample = filled(path)
            yield Place(entry.owner, path, kind, methods, access(app, kind, sample), sample)


def walk(app: Any, owner: str, above: str = "") -> Iterator[tuple[BaseRoute, str]]:
    """The routes below an application."""
    routes: Sequence[BaseRoute] | None = app.routes if isinstance(app, Router) else None
    if routes is None:
        raise Opaque(
            f"{owner} contributes {type(app).__name__} to ROUTES, whose addresses cannot be read "
            "off it. Contribute a kernel.api.Router, so that the attacks reach each of them."
        )
    for route in routes:
        if isinstance(route, Mount) and route.routes:
            yield from walk(Router(route.routes), owner, above + route.path)
        elif isinstance(route, Route | WebSocketRoute | Mount):
            yield route, above + route.path
        else:
            raise Opaque(f"{owner} has a {type(route).__name__} among its routes.")


def filled(path: str) -> str:
    """A path with something for each of its names: {name}, {name:path}."""
    head, brace, rest = path.partition("{")
    if not brace:
        return head
    return head + "x" + filled(rest.partition("}")[2])


def access(app: App, kind: str, sample: str) -> str:
    """What the door is told of an address."""
    path = sample.partition("?")[0]
    return app.web.access({"type": kind, "path": path, "method": "GET"})
