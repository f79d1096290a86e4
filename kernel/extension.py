"""The handle an extension's `setup` receives. Whatever is done through it is undone on stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import msgspec
from markupsafe import Markup

from kernel.acting import ACTIONS, Action, Handler, wire_name
from kernel.clients import EVERYONE, Client, To
from kernel.contract import Delta, Message, Report, Request, Turn
from kernel.generation import TOLD
from kernel.guard import called
from kernel.jobs import Job, JobKind, Kept, Run
from kernel.loaders import Generation, ToInstall
from kernel.manifest import Manifest
from kernel.model import Slot
from kernel.pages import Panel, Region, current, in_region
from kernel.pipeline import modified
from kernel.points import Changed, Phase, Point, Rewrites
from kernel.records import SectionChanged, SettingsChanged
from kernel.reply import Reply
from kernel.scope import Scope
from kernel.turn import DISPLAY
from kernel.worker import Worker

if TYPE_CHECKING:
    from kernel.manager import Kernel
    from kernel.records import Record

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
A = TypeVar("A", bound=Action)
J = TypeVar("J", bound=JobKind)
Acts = Callable[[A, Client], Awaitable[Any]]
Runs = Callable[[Job, J], Awaitable[Any]]
Hears = Callable[[T], Awaitable[None]]
Wanted = Callable[[str, Panel], bool]


class NotAvailable(LookupError):
    """No running extension contributes to the point."""


def only(wanted: Callable[[Any], bool], listener: Hears[Any]) -> Hears[Any]:
    """The same listener, deaf to all other events."""

    async def heard(event: Any) -> None:
        if wanted(event):
            await called(listener, event)

    return heard


class Extension(Scope, Generic[S]):
    """The handle: two verbs, and what an extension may ask of the kernel."""

    def __init__(
        self, record: "Record", settings: S, kernel: "Kernel", stack: AsyncExitStack
    ) -> None:
        super().__init__(record.id, record.folder, kernel, stack)
        self.settings = settings
        self.data_root = kernel.data
        self.data = kernel.data / "state" / record.id
        self.models, self.loras, self.characters = kernel.models, kernel.loras, kernel.characters
        self._loop = asyncio.get_running_loop()
        self.live_settings = False
        self.default_variant: str | None = None  # None: what suits the machine
        self._record = record
        self._kinds: dict[type[JobKind], Run] = {}

    # --- the two verbs -----------------------------------------------------------------

    @overload
    def on(
        self, what: Point[T], /, *, phase: Phase = Phase.NORMAL, rewrites: Rewrites = False
    ) -> Callable[[T], T]: ...
    @overload
    def on(self, what: type[A], /) -> Callable[[Acts[A]], Acts[A]]: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def on(self, what: type[J], /) -> Callable[[Runs[J]], Runs[J]]: ...
    @overload
    def on(self, what: Changed, /) -> Callable[[Hears[Changed]], Hears[Changed]]: ...
    @overload
    def on(self, what: type[T], /) -> Callable[[Hears[T]], Hears[T]]: ...
    def on(
        self, what: Any, /, *, phase: Phase = Phase.NORMAL, rewrites: Rewrites = False
    ) -> Callable[[Any], Any]:
        """Decorate a modifier of a point, or the handler of an action, job kind or event class;
        of `Changed(POINT)` too. What an action's handler answers, a struct, is for programs.
        `rewrites`: it may replace earlier text, or a function that tells of a turn as asked."""

        if not isinstance(cast(object, what), Point | type | Changed):
            raise TypeError(f"ext.on takes a point, as OUTPUT, or a class, not {what!r:.99}")

        def decorate(function: Any) -> Any:
            if isinstance(what, Point):
                self._contribute(cast(Point[Any], what), function, phase, rewrites)
            elif isinstance(what, Changed):
                self._listen(Changed, only(lambda event: event == what, function))
            elif issubclass(what, Action):
                with suppress(msgspec.ValidationError):  # A wrong annotation is told here,
                    msgspec.convert(0, what)  # and not where somebody presses the button.
                handler = Handler(wire_name(self.id, what), what, function)
                self._contribute(ACTIONS, handler, phase)
            elif issubclass(what, JobKind):
                self._resume(what, function)
            elif what is SettingsChanged:
                self.live_settings = True  # Whoever listens is not restarted.
                self._listen(what, only(lambda event: event.id == self.id, function))
            else:
                self._listen(what, function)
            return function

        return decorate

    def add(self, point: Point[T], value: T, /, *, phase: Phase = Phase.NORMAL) -> T:
        """Contribute a value (a loader, a mode, routes, a panel) to a point."""
        self._contribute(point, value, phase)
        return value

    # --- looking around ----------------------------------------------------------------

    def get(self, point: Point[T]) -> list[T]:
        """What is contributed now, in the user's order."""
        return self._kernel.registry.values(point)

    def one(self, point: Point[T]) -> T:
        """The first contribution; raises NotAvailable."""
        for value in self.get(point):
            return value
        raise NotAvailable(f"No running extension offers {point.name}. See Settings.")

    def slot(self, name: str = "chat") -> Slot:
        """Where a model is loaded: `slot().model` is None or has `info` and what it can do."""
        return self._kernel.slot(name)

    @property
    def starting(self) -> bool:
        """Whether Spindle itself is; `Started` is still to come."""
        return self._kernel.starting

    def flag(self, name: str) -> Any:
        """The value of a command line flag of the kernel or of this extension."""
        return self._kernel.flag(self.id, name)

    def configure(self, values: Mapping[str, Any]) -> None:
        """Change the extension's own settings, in the user's file; UNSET goes back to default.
        It waits for the disk: `await ext.thread(ext.configure, values)`."""
        self._kernel.settings.update(values, "extensions", self.id)
        self.settings = cast(S, self._kernel.settings.extension(self.id, self._record.kind))
        for event in (SettingsChanged(self.id), SectionChanged(f"extensions.{self.id}")):
            self._loop.call_soon_threadsafe(self.emit, event)

    @property
    def admin(self) -> "Kernel":
        """The kernel itself, for an extension whose manifest says `kernel:admin`."""
        manifest = self._record.manifest
        if not manifest or "kernel:admin" not in manifest.permissions:
            raise PermissionError(f'{self.id} must list "kernel:admin" in its permissions')
        return self._kernel

    # --- owning things -----------------------------------------------------------------

    def job(self, title: str, work: Callable[[Job], Awaitable[Any]] | JobKind) -> Job:
        """Start work with a progress bar and a cancel button; a JobKind survives a restart."""
        if isinstance(work, JobKind):
            return self._durable(Kept(title, work))
        return self._owns(self._kernel.jobs.start(self.id, title, work))

    async def worker(
        self, code: str, report: Report | None = None, env: Mapping[str, str] | None = None
    ) -> Worker:
        """Start `"<file>.py:<Class>"` in a child process; the caller closes it."""
        return await self._kernel.start_worker(self._record, code, report, env or {})

    async def missing(self, variant: str | None = None) -> ToInstall | None:
        """What the first worker would install before it starts; None when all is there."""
        return await self.thread(self._kernel.workers.missing, *self._environment(variant))

    async def install(self, report: Report, variant: str | None = None) -> None:
        """Install it, as a job that the page shows; a worker that needs it does so by itself."""
        await self._kernel.workers.prepare(*self._environment(variant), report)

    @property
    def variant(self) -> str:
        """Which build of its environment the user chose, or the extension as `default_variant`, or
        what suits the machine."""
        return self._kernel.variant(self._record.manifest) if self._record.manifest else ""

    @property
    def environments(self) -> Path:
        """Where environments are made; pip looks for wheels below `wheels/<environment>` there."""
        return self._kernel.workers.root

    async def listen(self, port: int) -> None:
        """Have the server answer at another port, too, behind the same checks, until the extension
        stops; raises Refused where the port cannot be had."""
        if also := self._kernel.access.also:
            await self.enter(also(port))

    # --- talking -----------------------------------------------------------------------

    def run(self, turn: Turn, history: Sequence[Message] = (), *, record: bool = False) -> Reply:
        """A whole turn, with every modifier; iterate over the reply."""
        return Reply(self._kernel, turn, history, record)

    def display(self, deltas: AsyncIterator[Delta], turn: Turn) -> AsyncIterator[Delta]:
        """Deltas as the `DISPLAY` modifiers leave them."""
        entries = self._kernel.registry.entries(DISPLAY)
        return modified(self._kernel.guard, "display", entries, deltas, turn)

    async def generate(self, request: Request) -> Generation:
        """Ask the bare model; raises NoModel when the slot is empty."""
        return await self.slot(request.slot).generate(request)

    def emit(self, event: object) -> None:
        """Tell everyone who listens to its class; never waits."""
        self._kernel.bus.emit(event)

    def render(self, template: str, **context: Any) -> str:
        """One of the extension's templates as HTML."""
        return self._kernel.pages.render(f"{self.id}/{template}", ext=self, **context)

    def parts(self, region: Region) -> list[tuple[str, Panel]]:
        """The panels of a region and whose they are, in their order, for who lays it out."""
        return [(entry.owner, entry.value) for entry in in_region(self._kernel.registry, region)]

    async def panels(
        self, region: Region, client: Client | None, subject: str, only: Wanted | None = None
    ) -> list[Markup]:
        """The same as HTML, or those of them that are wanted."""
        entries = in_region(self._kernel.registry, region)
        wanted = [entry for entry in entries if not only or only(entry.owner, entry.value)]
        return await current(self._kernel, wanted, client, subject)

    def news(self, region: Region) -> int:
        """Another number when who has a panel there pushed: what was drawn before may be old."""
        return sum(self._kernel.hub.news[owner] for owner in {o for o, _ in self.parts(region)})

    async def push(
        self, template: str, to: To = EVERYONE, key: str | None = None, **context: Any
    ) -> None:
        """Render a template and send it to pages; its top-level nodes carry hx-swap-oob."""
        if self._kernel.hub.clients:
            html = self.render(template, **context)
            if html.strip() and "hx-swap-oob" not in html:
                raise ValueError(f"{template} says no place: give its outer tags hx-swap-oob")
            self.push_html(html, to, key)

    def push_html(self, html: str, to: To, key: str | None = None, *, whole: bool = False) -> None:
        """Send a fragment; with `key` it replaces a queued one. Never waits. `whole`: it is all
        that a page shows, which may be of any size."""
        self._kernel.hub.push(self.id, html, to, key, whole=whole)

    def go(self, client: Client, path: str) -> None:
        """Make a path, quoted as in a link, the address of a page; what stands there is pushed by
        the caller, who has it. The status line is drawn anew; “back” leads to the page before."""
        self._kernel.hub.go(client, path)

    def tell(self, text: str, to: To, kind: str = "note") -> None:
        """Show a sentence to a client, Conversation(id) or Everyone(); `kind` is note or error."""
        self._kernel.hub.tell(text, to, kind)

    # --- inside ------------------------------------------------------------------------

    def _environment(self, variant: str | None) -> tuple[Manifest, str]:
        assert self._record.manifest
        return self._record.manifest, self.variant if variant is None else variant

    def _resume(self, kind: type[JobKind], run: Run) -> None:
        self._kinds[kind] = run
        for file, kept in self._kernel.jobs.kept(wire_name(self.id, kind), kind):
            self._durable(kept, file)

    def _durable(self, kept: Kept[Any], file: str = "") -> Job:
        kind: type[JobKind] = kept.params.__class__
        name, start = wire_name(self.id, kind), self._kernel.jobs.start_durable
        if not (run := self._kinds.get(kind)):
            raise LookupError(f"nobody does {kind.__name__}. Write: @ext.on({kind.__name__})")
        return self._owns(start(self.id, name, kept, run, file))

    def _owns(self, job: Job) -> Job:
        """It ends with the extension; an error of it that is no sentence for a person counts."""

        def ended(done: "asyncio.Future[Any]") -> None:
            error = None if done.cancelled() else done.exception()
            if error and not isinstance(error, TOLD):
                self._kernel.guard.failed(self.id, f"job {job.progress.title}", error)

        self._tasks.add(job.task)
        job.task.add_done_callback(self._tasks.discard)
        job.done.add_done_callback(ended)
        return job
