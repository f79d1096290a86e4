"""Models that say what they were told to: in this process, or in a child process."""

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernel.contract import (
    Capability,
    Delta,
    Finish,
    ModelInfo,
    Report,
    Request,
    Token,
    Usage,
)
from kernel.sampling import Struct
from kernel.worker import Worker, WorkerDied
from kernel.workers import WorkerModel

ENGINE = Path(__file__).with_name("engine.py")


class Options(Struct, frozen=True):
    """A scripted model has none."""


class ScriptedGeneration:
    """Says the script, word by word; `pause` seconds between two words."""

    def __init__(self, model: "Scripted", request: Request, script: str) -> None:
        self.finish: Finish | None = None
        self._model, self._limit = model, request.sampling.max_new_tokens
        self._words = iter(re.findall(r"\s*\S+\s*$|\s*\S+", script))
        self._stopped = asyncio.Event()
        self._said = 0

    def __aiter__(self) -> "ScriptedGeneration":
        return self

    async def __anext__(self) -> Delta:
        if self._model.died.done():
            raise WorkerDied(self._model.died.result())
        if self._model.gate:
            stopped = asyncio.ensure_future(self._stopped.wait())
            opened = asyncio.ensure_future(self._model.gate.acquire())
            await asyncio.wait({stopped, opened}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            opened.cancel()
            if self._model.died.done():
                raise WorkerDied(self._model.died.result())
        elif self._model.pause:
            await asyncio.sleep(self._model.pause)
        word = next(self._words, None)
        full = word is not None and self._said == self._limit
        if word is None or full or self._stopped.is_set():
            reason = "cancelled" if self._stopped.is_set() else "length" if full else "stop"
            self.finish = Finish(reason, usage=Usage(10, self._said))
            raise StopAsyncIteration
        self._said += 1
        return Delta(word, tokens=(self._model.token(self._said, word),))

    def cancel(self) -> None:
        self._stopped.set()


class Scripted:
    """A model that says what it was told to; with a `gate` one word for each release.

    `logprobs` are those of the words, in turn; `capabilities` and `samplers` what it can do.
    Its `chat_template` is never read, as nothing of a request is; without one, each app would
    start a process that renders the guessed one.
    """

    def __init__(
        self,
        *scripts: str,
        pause: float = 0,
        gate: asyncio.Semaphore | None = None,
        capabilities: Sequence[Capability] = ("text",),
        samplers: Sequence[str] = ("temperature", "max_new_tokens"),
        logprobs: Sequence[float] = (),
        chat_template: str = "{{ messages }}",
    ) -> None:
        self.scripts, self.pause, self.gate = list(scripts) or ["Hello."], pause, gate
        self.logprobs = logprobs
        self.asked: list[Request] = []
        self.info = ModelInfo(
            "scripted",
            loader="scripted",
            context_length=4096,
            chat_template=chat_template,
            samplers=tuple(samplers),
            capabilities=tuple(capabilities),
        )
        self.died: asyncio.Future[str] = asyncio.Future()

    def generate(self, request: Request) -> ScriptedGeneration:
        self.asked.append(request)
        script = self.scripts[(len(self.asked) - 1) % len(self.scripts)]
        return ScriptedGeneration(self, request, script)

    def token(self, number: int, word: str) -> Token:
        """What an engine would say of its `number`th word."""
        if not self.logprobs:
            return Token(number, word.encode())
        logprob = self.logprobs[(number - 1) % len(self.logprobs)]
        return Token(number, word.encode(), logprob, ((word.encode(), logprob),))

    async def call(self, name: str, **data: Any) -> Any:
        raise LookupError(f"A scripted model knows no call {name!r}.")

    async def close(self) -> None:
        if not self.died.done():
            self.die("It was unloaded.")

    def die(self, why: str) -> None:
        self.died.set_result(why)
        for _ in range(100 if self.gate else 0):
            assert self.gate
            self.gate.release()


class ScriptedLoader:
    """Loads any path as the scripted model it was given."""

    id = label = "scripted"
    Options = Options

    def __init__(self, model: Scripted) -> None:
        self.model, self.loads = model, 0

    def accepts(self, path: Path) -> bool:
        return True

    async def open(self, path: Path, options: Any, report: Report) -> Scripted:
        self.loads += 1
        if self.model.died.done():
            self.model.died = asyncio.Future()
        report(0.5, "Half way")
        return self.model


class WorkerScripts:
    """Loads any path as a model in a child process, which says one script after the other."""

    id = label = "scripted_worker"
    Options = Options

    def __init__(self, scripts: Sequence[str], pause: float) -> None:
        self._options = {"scripts": list(scripts), "pause": pause}

    def accepts(self, path: Path) -> bool:
        return True

    async def open(self, path: Path, options: Any, report: Report) -> WorkerModel:
        worker = await Worker.start(Path(sys.executable), f"{ENGINE}:Engine")
        try:
            return WorkerModel(worker, await worker.load(path, self._options, report))
        except BaseException:
            await asyncio.shield(worker.close(grace=0))
            raise
