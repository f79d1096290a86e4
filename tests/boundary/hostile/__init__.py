"""Says vectors wherever an extension can say something: they lie in data/vectors.json."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from extensions.prompts.api import CAST, Face
from kernel import manager
from kernel.api import (
    LOADERS,
    MODES,
    PANELS,
    Action,
    Client,
    Delta,
    Extension,
    Finish,
    Mark,
    Message,
    Meta,
    ModelInfo,
    Panel,
    Refused,
    Request,
    Struct,
    ToInstall,
    Turn,
)

CHUNK = 40


class Say(Action, frozen=True):
    """Say vectors, by number, where `where` says."""

    where: str
    first: int = 0
    last: int = 0


class Parrot:
    """A model that says the vectors which the last message asks for: "stream 0 40"."""

    def __init__(self, vectors: list[str], info: ModelInfo) -> None:
        self.info, self._vectors = info, vectors
        self.died: asyncio.Future[str] = asyncio.Future()

    def generate(self, request: Request) -> "Said":
        assert request.messages
        how, first, last = [*request.messages[-1].text.split(), "0", "0", "0"][:3]
        return Said(how, self._vectors[int(first) : int(last)])

    async def call(self, name: str, **data: Any) -> Any:
        """Tokens that say vectors; and vectors that come next, cut by vectors."""
        said = [vector.encode() for vector in self._vectors]
        if name == "tokenize":
            pieces = [(n, each, n % 2 == 0) for n, each in enumerate(said)]
            return pieces if data.get("pieces") else [n for n, _, _ in pieces]
        if name == "logits":
            tokens = [
                {"id": n, "bytes": each, "before": 0.1, "after": 0.1, "cut_by": each.decode()}
                for n, each in enumerate(said)
            ]
            return {"tokens": tokens, "reasons": True}
        raise LookupError(name)

    async def close(self) -> None:
        if not self.died.done():
            self.died.set_result("It was unloaded.")


class Said:
    """A reply: its vectors in pieces of a few letters, with marks, as thoughts, or as its error."""

    def __init__(self, how: str, vectors: list[str]) -> None:
        self.finish: Finish | None = None
        whole = "\n\n".join(vectors)
        self._error = whole if how == "error" else ""
        if how == "marks":
            deltas = [Delta(v, marks=(Mark(0, len(v), v, v),)) for v in vectors]
        elif how == "error":
            deltas = [Delta("Words. ")]
        else:
            channel = "reasoning" if how == "thoughts" else "text"
            deltas = [Delta(whole[n : n + 3], channel=channel) for n in range(0, len(whole), 3)]
        self._deltas = iter(deltas)

    def __aiter__(self) -> "Said":
        return self

    async def __anext__(self) -> Delta:
        await asyncio.sleep(0.002)
        delta = next(self._deltas, None)
        if delta is None:
            self.finish = Finish("error" if self._error else "stop", error=self._error)
            raise StopAsyncIteration
        return delta

    def cancel(self) -> None:
        self._deltas = iter(())


class Parrots:
    """Loads any path as a model that is called what was last said; or fails with those words."""

    id = "hostile"

    def __init__(self, vectors: list[str], options: type[msgspec.Struct]) -> None:
        self.label = " ".join(vectors[:CHUNK])
        self.Options = options
        self.words, self.fails, self.may_end = "parrot", False, asyncio.Event()
        self._vectors = vectors

    def accepts(self, path: Path) -> bool:
        return path.is_file()

    async def missing(self) -> ToInstall:
        return ToInstall(tuple(self._vectors[:CHUNK]), " ".join(self._vectors[CHUNK:]))

    async def install(self, report: Callable[[float, str], None]) -> None:
        report(0.5, self.words)

    async def open(self, path: Path, options: Any, report: Callable[[float, str], None]) -> Parrot:
        report(0.5, self.words)
        report.lines = lambda: (self.words,)  # type: ignore[attr-defined]
        await self.may_end.wait()
        if self.fails:
            raise RuntimeError(self.words)
        info = ModelInfo(
            self.words, loader="hostile", context_length=4096, chat_template=self.words,
            description=self.words,
        )  # fmt: skip
        return Parrot(self._vectors, info)


class Played:
    """A mode that wants everything, and is called a vector; its characters are vectors, too."""

    id = "hostile"
    wants = ("character", "persona", "template", "command", "chat_template", "system_message")

    def __init__(self, vectors: list[str]) -> None:
        self.label, self._faces = (
            " ".join(vectors),
            [Face(vector, vector, greetings=(vector, vector)) for vector in vectors],
        )

    async def request(self, turn: Turn, history: Sequence[Message]) -> Request:
        return Request(messages=(*history, *turn.messages))

    async def characters(self) -> Sequence[Face]:
        return self._faces

    personas = characters

    async def face(self, character: str, persona: str, place: str) -> Face | None:
        return next((face for face in self._faces if face.id == character), None)

    async def expand(
        self, text: str, character: str, persona: str, *, conversation: str, seed: str
    ) -> str:
        return character + text


def form(name: str, vectors: list[str]) -> type[msgspec.Struct]:
    """A struct whose labels, words of help, defaults and choices are vectors."""
    fields: list[tuple[str, Any, Any]] = []
    for n in range(0, len(vectors), CHUNK):
        some, words = vectors[n : n + CHUNK], " ".join(vectors[n : n + CHUNK])
        meta = Meta(title=words, description=words)
        fields.append((f"text_{n}", Annotated[str, meta], words))
        fields.append((f"list_{n}", Annotated[tuple[str, ...], meta], tuple(some)))
        fields.append((f"choice_{n}", Annotated[Literal[tuple(some)], meta], some[0]))
    return msgspec.defstruct(name, fields, bases=(Struct,), frozen=True)


def read(folder: Path) -> list[str]:
    return json.loads((folder / "vectors.json").read_text("utf-8"))


Settings = form("Settings", read(Path(__file__).parents[2]))


async def setup(ext: Extension[Any]) -> None:
    manager.LEADS = ext.id  # It fails so often that it would be set aside.
    vectors = read(ext.data_root)
    loader = Parrots(vectors, form("Options", vectors))
    ext.add(LOADERS, loader)
    ext.add(MODES, played := Played(vectors))
    ext.add(CAST, played)
    release = asyncio.Event()

    async def context(client: Client | None, subject: str) -> Mapping[str, Any]:
        return {"said": f"{subject} {' '.join(vectors)}"}

    for n in range(0, len(vectors), CHUNK):
        words = " ".join(vectors[n : n + CHUNK])
        panel = Panel("tab", "panel.html", context, order=50 + n, title=words, icon=words)
        ext.add(PANELS, panel)
    ext.add(PANELS, Panel("status", "panel.html", context, order=9))

    async def work(job: Any, words: str) -> None:
        job.report(0.5, words)
        await release.wait()
        raise RuntimeError(words)

    @ext.on(Say)
    async def say(action: Say, client: Client) -> None:
        some = vectors[action.first : action.last]
        words = " ".join(some)
        match action.where:
            case "toasts":
                for vector in some:
                    ext.tell(vector, client, "error")
                    ext.log.warning("%s", vector)
            case "refusal":
                raise Refused(words)
            case "failure":
                raise RuntimeError(words)
            case "jobs":
                release.clear()
                for vector in some:
                    ext.job(vector, lambda job, words=vector: work(job, words))
            case "failing jobs":
                release.set()
            case "loading" | "failed" | "ready":
                loader.words, loader.may_end = words, asyncio.Event()
                if action.where != "loading":
                    loader.may_end.set()
                loader.fails = action.where == "failed"
                path = next(path for path in ext.models.rglob("*") if path.is_file())
                ext.spawn(load(path), "load")
            case _:
                raise LookupError(action.where)

    async def load(path: Path) -> None:
        try:
            await ext.slot().load(path, "hostile")
        except Exception as error:
            ext.log.warning("%s", error)
