"""The child's end: one engine, a thread that reads the pipe, and the engine's own: the main one.

`python -P -s -m kernel.worker_host <file>.py:<Class>`; the environment tells it its channel.
"""

import gc
import importlib
import queue
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from msgspec import structs

from kernel import frames
from kernel.contract import Engine, EngineFailed, Output, Refused, Report, Request
from kernel.platform_ import die_unless_called_again, end, join

EXTENSIONS = Path(__file__).parents[1] / "extensions"
STEP = 0.1
"""Seconds that a call may have to wait for the engine's step."""
QUIET = 0.25
"""Seconds without anything to do after which an engine does what can wait."""


def load_code(reference: str) -> Any:
    """Import `"<file>.py:<Name>"` from an extension's folder, without running the `__init__` of
    that or of any other that it imports from: those are the server's."""
    file, _, name = reference.rpartition(":")
    own = Path(file).parent
    for folder in (own, *EXTENSIONS.glob("[a-z]*")):
        package = ModuleType(f"extensions.{folder.name}")
        package.__path__ = [str(folder)]
        sys.modules.setdefault(package.__name__, package)
    return getattr(importlib.import_module(f"extensions.{own.name}.{Path(file).stem}"), name)


RUNTIME = (
    ". Windows may lack what it is made with: install the Visual C++ Redistributable, "
    "https://aka.ms/vs/17/release/vc_redist.x64.exe, then load the model again"
)
LACKS = (
    ". What it needs is missing or damaged. If that is a part of the system, install it; if not, "
    "delete {}, and the next load installs the engine anew."
)

NAMED = (
    " (Its author names packages in `python` below [worker] in extension.toml, and files of the "
    "extension without their folder.)"
)


@contextmanager
def collecting_nothing() -> Generator[None]:
    """While libraries and a model come in, and never among those: they stay. Collecting took a
    fifth of the time in which torch and transformers are imported."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def failure(id: int, error: BaseException, kind: str = "") -> frames.Failed:
    """A sentence for the user; what was no refusal is printed too, for the log."""
    said = str(error).encode(errors="replace").decode()  # Half a character ends no engine.
    if isinstance(error, Refused | EngineFailed | SystemExit):
        return frames.Failed(id, said, kind, getattr(error, "refused", None))
    traceback.print_exception(error)
    said = f"The engine failed: {type(error).__name__}: {said}"[:2000].rstrip(".") + place(error)
    sys.stderr.write(f"error: {said}\n")  # It is logged by its first word.
    if "DLL load failed" in said:
        said += RUNTIME
    if isinstance(error, ImportError) or "cannot open shared object" in said:
        said += LACKS.format(sys.prefix)
    if isinstance(error, ModuleNotFoundError):
        said += NAMED
    return frames.Failed(id, said, kind)


def place(error: BaseException) -> str:
    """Where in the engine's own files, in no library's."""
    steps = traceback.extract_tb(error.__traceback__)
    others = (__file__, "<frozen ", sys.prefix, sys.base_prefix)
    own = [step for step in steps if not step.filename.startswith(others)]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def mended(output: Output) -> Output:
    """With text that is text: what is half a character becomes the sign for that."""
    if not (delta := output.delta):
        return output
    text = delta.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return structs.replace(output, delta=structs.replace(delta, text=text))


class Host:
    def __init__(self, pipe: socket.socket, engine: Engine) -> None:
        self.pipe, self.sending, self.engine = pipe, threading.Lock(), engine
        self.jobs: queue.SimpleQueue[frames.Load | frames.Call | None] = queue.SimpleQueue()
        self.requests: set[int] = set()
        self.calls: dict[int, threading.Event] = {}
        self.told = time.monotonic()
        """When it last said that it lives."""
        self.steps = hasattr(engine, "poll")
        self.rests = False
        """Whether the engine may have left something that can wait."""

    def send(self, frame: frames.FromWorker) -> None:
        data = frames.pack(frame)
        with self.sending:
            self.pipe.sendall(data)

    # --- the reader's thread ---

    def read(self) -> None:
        """Hear the server until the pipe closes; then nobody needs this process any more."""
        decode = msgspec.msgpack.Decoder(frames.ToWorker).decode
        try:
            while True:
                size = int.from_bytes(self.exactly(4), "little")
                self.hear(decode(self.exactly(min(size, frames.LARGEST))))
        except ConnectionError:
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            end()

    def exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            asked = select.select([self.pipe], [], [], 1)[0]
            if not asked or time.monotonic() - self.told >= 1:  # However often it is asked.
                self.live()
            if not asked:
                continue
            if not (piece := self.pipe.recv(min(size - len(data), 1 << 20))):
                raise ConnectionError
            data += piece
        return bytes(data)

    def live(self) -> None:
        self.told = time.monotonic()
        self.send(frames.Alive())
        die_unless_called_again(180)

    def hear(self, frame: frames.ToWorker) -> None:
        match frame:
            case frames.Submit(id, request):
                self.requests.add(id)
                try:
                    self.engine.submit(id, msgspec.convert(request, Request))
                except Exception as error:
                    self.requests.discard(id)
                    self.send(failure(id, error))
                self.jobs.put(None)  # wakes the engine's thread
            case frames.Cancel(id):
                if id in self.requests:
                    self.engine.cancel(id)
                elif cancelled := self.calls.get(id):
                    cancelled.set()
            case frames.Call(id, name):
                self.calls[id] = threading.Event()
                if beside := name in getattr(self.engine, "concurrent", ()):
                    threading.Thread(target=self.beside, args=(frame,), daemon=True).start()
                self.jobs.put(None if beside else frame)  # It may wait for steps, as a request.
            case frames.Load():
                self.jobs.put(frame)

    # --- the engine's thread ---

    def serve(self) -> None:
        threading.Thread(target=self.read, daemon=True).start()
        while True:
            if (self.requests or (self.steps and self.calls)) and self.jobs.empty():
                self.step()
                continue
            try:
                job = self.jobs.get(timeout=QUIET if self.rests else None)
            except queue.Empty:
                self.rest()
                continue
            if isinstance(job, frames.Load):
                self.load(job)
            elif job:
                self.call(job)
                if self.requests:  # However many calls wait, replies go on.
                    self.step()

    def rest(self) -> None:
        rest = getattr(self.engine, "rest", bool)
        try:
            while self.rests and self.jobs.empty():
                self.rests = rest()
        except Exception:
            self.rests = False
            traceback.print_exc()

    def step(self) -> None:
        self.rests = True
        try:
            wait = STEP if self.jobs.empty() else 0  # A call is next.
            if outputs := tuple(self.engine.poll(wait)):
                self.tell(outputs)
            self.requests.difference_update(each.id for each in outputs if each.finish)
        except Exception as error:
            for id in tuple(self.requests):
                self.requests.discard(id)
                self.engine.cancel(id)
                self.send(failure(id, error))

    def tell(self, outputs: tuple[Output, ...]) -> None:
        """All of a step at once; where that cannot be, one reply's nonsense costs that one."""
        try:
            return self.send(frames.Outputs(outputs))
        except (ValueError, TypeError, OverflowError):
            pass  # half a character, or a number that no frame holds
        for output in outputs:
            try:
                self.send(frames.Outputs((mended(output),)))
            except Exception as error:
                self.requests.discard(output.id)
                self.engine.cancel(output.id)
                self.send(failure(output.id, error))

    def load(self, job: frames.Load) -> None:
        try:
            with collecting_nothing():
                info = self.engine.load(job.path, job.options, self.reporter(0))
            self.send(frames.Loaded(info))
        except Exception as error:
            self.send(failure(0, error))

    def call(self, job: frames.Call) -> None:
        """One at a time, but for the names that the engine says are concurrent."""
        try:
            report, cancelled = self.reporter(job.id), self.calls[job.id].is_set
            if cancelled():
                raise Refused("It was cancelled before it began.")
            value = self.engine.call(job.name, report, cancelled, **job.data)
            self.send(frames.Result(job.id, value))
        except Exception as error:
            self.send(failure(job.id, error))
        finally:
            del self.calls[job.id]

    def beside(self, job: frames.Call) -> None:
        """On a thread of its own: what ends that would end without a word."""
        try:
            self.call(job)
        except BaseException as error:
            self.send(failure(job.id, RuntimeError(f"{type(error).__name__} {error}")))

    def reporter(self, id: int) -> Report:
        return lambda fraction, note: self.send(frames.Progress(id, fraction, note))


if __name__ == "__main__":
    channel = join()
    try:
        with collecting_nothing():
            engine = load_code(sys.argv[1])()
        Host(channel, engine).serve()
    except BaseException as error:
        if isinstance(error, SystemExit) and not isinstance(error.code, str):
            error = Refused(f"The engine ended itself (exit code {error.code}). See the log.")
        channel.sendall(frames.pack(failure(0, error, "start")))
        end()
