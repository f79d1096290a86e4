"""A model that says what stands in its file; replies are parted by lines of equal signs."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from kernel.api import (
    LOADERS,
    Delta,
    Extension,
    Finish,
    Generation,
    Meta,
    Model,
    ModelInfo,
    Request,
    Struct,
    Timings,
    Token,
    Usage,
)

Report = Callable[[float, str], None]


class Options(Struct, frozen=True):
    """How it speaks."""

    pause: Annotated[float, Meta(ge=0, le=1, description="Seconds before each word.")] = 0.002
    slow: Annotated[float, Meta(ge=0, le=60, description="Seconds that a load takes.")] = 0


class Saying:
    """One reply, word by word."""

    def __init__(self, script: str, pause: float, sure: int | None) -> None:
        self.finish: Finish | None = None
        self._words = re.findall(r"\S+\s*", script)
        self._sure = sure
        self._pause, self._said, self._cancelled = pause, 0, False

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> Delta:
        await asyncio.sleep(self._pause)
        if self._cancelled or self._said == len(self._words):
            timings = Timings(0.01, self._said * max(self._pause, 0.001))
            reason = "cancelled" if self._cancelled else "stop"
            self.finish = Finish(reason, usage=Usage(10, self._said), timings=timings)
            raise StopAsyncIteration
        self._said += 1
        word = self._words[self._said - 1]
        if self._sure is None:
            return Delta(word)
        said, other = word.encode(), b"<other>"
        top = ((said, -0.3), (other, -1.4))[: self._sure]
        return Delta(word, tokens=(Token(self._said, said, -0.3 * (self._said % 9), top),))

    def cancel(self) -> None:
        self._cancelled = True


class Parrot:
    """Says its replies in turn."""

    def __init__(self, path: Path, options: Options) -> None:
        self.info = ModelInfo(
            path.stem, loader="parrot", context_length=4096, capabilities=("text", "logprobs")
        )
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._scripts = re.split(r"\n=+\n", path.read_text("utf-8"))
        self._options, self._asked = options, 0

    def generate(self, request: Request) -> Generation:
        script = self._scripts[self._asked % len(self._scripts)]
        self._asked += 1
        return Saying(script, self._options.pause, request.logprobs)

    async def call(self, name: str, **data: Any) -> Any:
        raise LookupError(f"A parrot knows no call {name!r}.")

    async def close(self) -> None:
        pass


class ParrotLoader:
    """Takes files that end in .parrot."""

    id = label = "parrot"

    def __init__(self) -> None:
        self.Options: type[msgspec.Struct] = Options

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".parrot"

    async def open(self, path: Path, options: Any, report: Report) -> Model:
        report(0.5, "Learning the words")
        await asyncio.sleep(options.slow)
        return Parrot(path, options)


async def setup(ext: Extension[Any]) -> None:
    ext.add(LOADERS, ParrotLoader())
