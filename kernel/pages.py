"""Templates and panels: how contributions become a page."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from jinja2 import Environment, FunctionLoader, select_autoescape
from markupsafe import Markup

from kernel.clients import Client
from kernel.compiled import Compiled
from kernel.files import stamp
from kernel.guard import SwitchedOff, called
from kernel.points import Entry, Point, Registry
from kernel.waiting import GRACE

if TYPE_CHECKING:
    from kernel.manager import Kernel

LARGEST = 32 << 20
"""Characters of one fragment."""
DEEPEST = 16
"""How often a panel may stand within itself: more is one that shows itself for ever."""
AGAIN = 1000
"""How often it may do so anywhere within what is drawn."""
FAILED = '<p class="empty">{} could not draw this. Its card in Settings says more.</p>'
Region = Literal[
    "tab", "sidebar", "composer", "message_actions", "message_footer", "models", "model_file",
    "status", "settings", "command", "shortcut",
]  # fmt: skip


Then = Callable[[Markup], None]


def ignored(html: Markup) -> None:
    """Nobody has to have it in the very moment."""


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

    def __post_init__(self) -> None:
        if self.region not in get_args(Region) or not isinstance(cast(Any, self.order), int):
            raise ValueError(f"a panel's region is one of {get_args(Region)}, its order a number")
        if not isinstance(cast(Any, self.title), str) or len(self.title) > 10_000:
            raise ValueError("a panel's title is a text of at most 10,000 characters")


PANELS: Point[Panel] = Point("panels", "Fragments of the page.", Panel)


def in_region(registry: Registry, region: str) -> list[Entry[Panel]]:
    """The panels of a region, in their order and then the user's."""
    found = [entry for entry in registry.entries(PANELS) if entry.value.region == region]
    return sorted(found, key=lambda entry: entry.value.order)


def placed(entry: Entry[Panel], html: str) -> str:
    """A panel in its place on the page: a tab is all that is there."""
    if entry.value.region == "tab":
        return f'<main id="main" hx-swap-oob="innerMorph">{html}</main>'
    name = f"status-{entry.owner}-{entry.value.order}"
    return f'<div id="{name}" hx-swap-oob="innerMorph">{html}</div>'


class Inside:
    """The time of panels that a panel shows within itself: theirs, and not its own."""

    def __init__(self, outer: "Inside | None", entry: Entry[Panel], most: float) -> None:
        self.open = True
        self._chain: tuple[int, ...] = (*(outer._chain if outer else ()), entry.serial)
        self._again: Counter[int] = outer._again if outer else Counter()
        """How often which were shown within themselves, in all that is drawn here."""
        self._drawing, self._began, self._spent, self._left = 0, 0.0, 0.0, most

    deep = property(lambda self: len(self._chain) > 1)
    """Whether the panel itself is shown by another."""

    def check(self, entry: Entry[Panel]) -> None:
        """Raise where a panel shows itself without an end."""
        depth = self._chain.count(entry.serial)
        self._again[entry.serial] += bool(depth)
        if depth >= DEEPEST or self._again[entry.serial] > AGAIN:
            raise RuntimeError("shows itself, or one that shows it")

    @contextmanager
    def one(self) -> Generator[None]:
        """While another is drawn, or several at once."""
        self._clock()
        self._drawing += 1
        try:
            yield
        finally:
            self._clock()
            self._drawing -= 1

    def more(self) -> float:
        """Seconds that were not the outer one's since this was asked last, and at most so many."""
        self._clock()
        granted = min(max(self._spent, GRACE if self._drawing else 0), self._left)
        self._spent, self._left = self._spent - granted, self._left - granted
        return max(0, granted)

    def _clock(self) -> None:
        now = asyncio.get_running_loop().time()
        self._spent, self._began = self._spent + (now - self._began) * bool(self._drawing), now


INSIDE: "ContextVar[Inside | None]" = ContextVar("inside", default=None)


async def drawn(
    kernel: "Kernel", entry: Entry[Panel], client: Client | None, subject: str, then: Then = ignored
) -> Markup:
    """A panel as HTML; one that fails or hangs costs its own place, with a sentence in it.

    What it returned is rendered and handed to `then` at once, with no pause in which it could
    become untrue.
    """
    guard, outer, over = kernel.guard, INSIDE.get(), False
    if outer and not outer.open:  # A task that a panel began, and that goes on without it.
        outer = None
    if outer:
        outer.check(entry)
    inside = Inside(outer, entry, guard.patience)
    record = kernel.records.get(entry.owner)
    handle = record and record.handle

    def done(html: Markup) -> Markup:
        if not over:
            then(html)
        return html

    async def draw() -> Markup:
        INSIDE.set(inside)
        try:
            context: Any = await called(entry.value.context, client, subject)
        finally:
            inside.open = False
        if not isinstance(context, Mapping):
            raise TypeError(f"its context gave a {type(context).__name__}, not a dict")
        return done(kernel.pages.render(f"{entry.owner}/{entry.value.template}", **context))

    try:
        with outer.one() if outer else nullcontext():
            return await guard.within(guard.budget, entry, draw, more=inside.more)
    except SwitchedOff:
        html = Markup()
    except Exception as error:
        html = Markup()
        # Else it was stopped meanwhile, and its templates went; what runs may be its next life.
        if not record or (handle and record.handle is handle):
            guard.failed(entry.owner, f"panel {entry.value.template}", error, again=True)
            html = Markup(FAILED).format(kernel.name(entry.owner))
    done(html)
    over = True  # One that was left behind may end yet.
    return html


async def current(
    kernel: "Kernel", entries: Sequence[Entry[Panel]], client: Client | None, subject: str
) -> list[Markup]:
    """Panels as they are when all are drawn: where an owner told news meanwhile, once more."""
    news, old, found = kernel.hub.news, list(range(len(entries))), dict[int, tuple[Markup, int]]()
    outer = INSIDE.get()
    for _ in range(1 if outer and outer.deep else 3):  # Each level would multiply it.
        for n in old:
            owner = entries[n].owner

            def put(html: Markup, n: int = n, owner: str = owner) -> None:
                found[n] = html, news[owner]

            await drawn(kernel, entries[n], client, subject, put)
        here = {entry.serial for entry in kernel.registry.entries(PANELS)}
        old = [n for n, (_, seen) in found.items() if seen != news[entries[n].owner]]
        if not (old := [n for n in old if entries[n].serial in here]):
            break
    return [html for _, (html, _) in sorted(found.items())]


class Pages:
    """Renders the kernel's templates, and `<id>/x.html` of extensions while they run."""

    def __init__(self, kernel: Path | None, of: Callable[[str], Path | None]) -> None:
        self._kernel, self._of = kernel, of
        self._jinja = Environment(
            loader=FunctionLoader(self._load),
            autoescape=select_autoescape(),
            bytecode_cache=Compiled(),
            optimized=False,  # It costs a first start more than it ever gives back.
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, template: str, **context: Any) -> Markup:
        """HTML that can be sent: half a surrogate pair, as in a file's odd name, becomes "?"."""
        html = self._jinja.get_template(template).render(**context)
        if len(html) > LARGEST:
            raise ValueError(f"{template} came to {len(html) >> 20} MB, more than a page can show")
        return Markup(html.encode(errors="replace").decode())

    def forget(self, id: str) -> None:
        """Drop what was made of an extension's templates."""
        cache: Any = self._jinja.cache
        for key in [key for key in cache if key[1].startswith(f"{id}/")]:
            del cache[key]

    def _load(self, name: str) -> tuple[str, str, Callable[[], bool]] | None:
        id, _, rest = name.partition("/")
        folder = self._of(id) if rest else self._kernel
        if not folder:
            return None
        path = (folder / (rest or name)).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return None
        seen = stamp(path)

        def current() -> bool:
            owner = self._of(id) if rest else self._kernel
            return owner is not None and seen is not None and stamp(path) == seen

        return path.read_text("utf-8"), str(path), current
