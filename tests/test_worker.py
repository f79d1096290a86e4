"""A worker whose engine crashes, hangs and lies must cost its own requests and nothing else."""

import asyncio
import os
import resource
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from kernel import frames, platform_, spawning, worker_host
from kernel.child import Frames, Process
from kernel.contract import Request, Sampling
from kernel.manifest import Manifest
from kernel.platform_ import has_nvidia
from kernel.records import Record
from kernel.worker import Limits, Worker, WorkerDied, WorkerError
from kernel.workers import Engines, Workers
from tests.engines.real import ROOT, late_words

CODE = f"{Path(__file__).parent / 'engines' / 'scripted.py'}:Engine"
PYTHON = Path(sys.executable)


@asynccontextmanager
async def running(code: str = CODE, **more):
    worker = await Worker.start(PYTHON, code, **more)
    try:
        yield worker
    finally:
        await worker.close()
        assert gone(worker._process.transport.get_pid())


@pytest.fixture
async def worker():
    async with running() as worker:
        await worker.load("model", {})
        yield worker


def gone(pid: int) -> bool:
    """Neither running nor a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def text(reply) -> str:
    return "".join([delta.text async for delta in reply])


async def test_a_model_loads_with_progress_and_answers():
    async with running() as worker:
        seen = []
        info = await worker.load("m", {"context_length": 5}, lambda *news: seen.append(news))
        assert (info.name, info.context_length) == ("m", 5)
        assert [note for _, note in seen] == ["part 1", "part 2", "part 3"]
        reply = worker.generate(Request(prompt="a b c"))
        assert await text(reply) == "a b c "
        assert reply.finish
        assert reply.finish.reason == "stop"
        assert reply.finish.usage.completion == 2
        assert [delta async for delta in reply] == []


async def test_requests_run_together_and_one_is_cancelled(worker):
    endless = worker.generate(Request(prompt="nap go " * 5000))
    short = [worker.generate(Request(prompt=f"{n} " * 20)) for n in range(8)]
    assert await asyncio.gather(*map(text, short)) == [f"{n} " * 20 for n in range(8)]
    await anext(endless)
    assert await late_words(endless, worker.call("echo")) <= 1, "that of the step under way"
    assert endless.finish
    assert endless.finish.reason == "cancelled"
    endless.cancel()
    assert await text(worker.generate(Request(prompt="fine"))) == "fine "


async def test_calls_return_data_report_and_can_be_cancelled(worker):
    assert await worker.call("echo", a=1, b=[2, {"c": None}]) == {"a": 1, "b": [2, {"c": None}]}
    seen = []
    await worker.call("report", lambda *news: seen.append(news))
    assert seen == [(0.5, "half")]
    waiting = asyncio.create_task(worker.call("hold"))
    await asyncio.sleep(0.05)
    assert await worker.call("echo") == {}, "concurrent names do not wait for the engine"
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await worker.call("nap") is None


@pytest.mark.parametrize(
    ("prompt", "sentence", "refused"),
    [
        ("refuse", "The prompt is too long. Shorten it.", "prompt"),
        ("raise", "The engine failed: KeyError: 'surprise'", None),
        ("starved", "There is no memory left. Load less.", None),
        ("some words fault", "The engine failed: ValueError: a fault in a step", None),
    ],
)
async def test_an_error_of_one_request_is_a_sentence_and_the_worker_lives(
    worker, prompt, sentence, refused
):
    with pytest.raises(WorkerError, match=sentence.split(":")[0]) as caught:
        await text(worker.generate(Request(prompt=prompt)))
    said, _, line = str(caught.value).partition(" (scripted.py, line ")
    assert (said, caught.value.refused) == (sentence, refused)
    assert bool(line) is ("failed" in said)
    assert await text(worker.generate(Request(prompt="fine"))) == "fine "


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("segfault", "crashed (SIGSEGV) while writing a reply"),
        ("killed", "was killed (SIGKILL) while writing a reply"),
        ("leave", "ended by itself (exit code 7) while writing a reply"),
        ("starve", "ran out of memory while writing a reply"),
        ("garbage", "sent something that no engine should send"),
        ("huge", "sent something that no engine should send"),
        ("close_pipe", "The engine"),
        ("hang", "was silent for"),
    ],
)
async def test_a_death_fails_what_is_open_after_the_text_so_far(what, words):
    silence = 1 if what == "hang" else 60  # Only a hang is told by its silence.
    async with running(limits=Limits(silence)) as worker:
        await worker.load("m", {})
        reply = worker.generate(Request(prompt=f"one two nap {what}"))
        got = [(await anext(reply)).text for _ in range(2)]
        call = asyncio.create_task(worker.call("wait")) if what != "hang" else None
        with pytest.raises(WorkerDied) as caught:
            async with asyncio.timeout(10):
                await text(reply)
        assert got == ["one ", "two "]
        assert words in str(caught.value)
        assert await worker.died == str(caught.value)
        if call:
            with pytest.raises(WorkerDied):
                await call
        if what == "leave":
            assert "my last words" in worker.log_tail
        with pytest.raises(WorkerDied):
            await text(worker.generate(Request(prompt="x")))
        with pytest.raises(WorkerDied):
            await worker.call("echo")
        reply.cancel()


async def test_a_death_is_told_within_a_second(worker):
    """Twice that where the machine is busy: the page says it within two."""
    reply = worker.generate(Request(prompt="one " + "nap " * 5000))
    assert (await anext(reply)).text == "one "
    await worker.call("child")  # It holds open what the engine printed to.
    call = asyncio.create_task(worker.call("wait"))
    loop = asyncio.get_running_loop()
    os.kill(worker.pid, signal.SIGKILL)
    began = loop.time()
    for told in (text(reply), call):
        with pytest.raises(WorkerDied):
            await told
    assert loop.time() - began < 2
    assert worker.died.done()


async def test_why_an_engine_died_is_told_however_late_the_system_tells_it(worker, monkeypatch):
    loop, told = asyncio.get_running_loop(), Process.process_exited
    monkeypatch.setattr(Process, "process_exited", lambda self: loop.call_later(0.6, told, self))
    os.kill(worker.pid, signal.SIGKILL)
    assert await worker.died == "The engine was killed (SIGKILL) while idle."


async def test_why_an_engine_died_is_told_though_its_log_stays_open(worker, monkeypatch):
    """And where no system call says that it has ended, as on Windows."""
    monkeypatch.setattr("kernel.worker.ended", lambda pid: False)
    loop, told = asyncio.get_running_loop(), Process.pipe_connection_lost
    monkeypatch.setattr(
        Process, "pipe_connection_lost", lambda *args: loop.call_later(0.45, told, *args)
    )
    os.kill(worker.pid, signal.SIGKILL)
    assert await worker.died == "The engine was killed (SIGKILL) while idle."


async def test_an_engine_that_lives_without_its_pipe_is_ended(worker):
    os.kill(worker.pid, signal.SIGSTOP)
    while psutil.Process(worker.pid).status() != psutil.STATUS_STOPPED:
        await asyncio.sleep(0.01)
    worker._pipe.transport.abort()
    assert await worker.died == "The engine closed its connection."


@pytest.mark.parametrize(
    ("system", "card", "there", "variant"),
    [
        ("linux", False, (), "cpu"),
        ("linux", True, (), ""),
        ("linux", False, ("torch",), ""),  # Nobody wants the same twice.
        ("linux", False, ("torch-cpu",), "cpu"),
        ("linux", False, ("torch", "torch-cpu"), "cpu"),
        ("linux", True, ("torch-cpu",), ""),  # The card came later.
        ("darwin", False, (), ""),
        ("win32", False, (), ""),
    ],
)
def test_without_a_card_its_libraries_stay_away(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    card: bool,
    there: tuple[str, ...],
    variant: str,
):
    monkeypatch.setattr("kernel.workers.has_nvidia", lambda: card)
    monkeypatch.setattr(sys, "platform", system)
    for name in there:
        (tmp_path / name).mkdir()
        (tmp_path / name / "stamp").touch()
    made = Workers(tmp_path, [], None)  # type: ignore[arg-type]
    for id, suits in (("transformers", variant), ("llama_cpp", ""), ("chat", "")):
        assert made.suited(Manifest.read(ROOT / "extensions" / id)) == suits


def test_a_driver_of_nvidia_is_seen_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_nvidia(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    assert has_nvidia(tmp_path)
    (tmp_path / "nvidia-smi").touch(0o755)
    assert has_nvidia(tmp_path / "none")


async def test_values_that_cannot_be_cost_their_own_request(worker):
    """What an extension's modifier made of a request was checked by nobody."""
    other = worker.generate(Request(prompt="a " * 500))
    for wrong in (Sampling(custom_stopping_strings=("x",) * 100_000), Sampling(top_p=7.0)):
        with pytest.raises(WorkerError, match="ValidationError: Expected"):
            await text(worker.generate(Request(prompt="b", sampling=wrong)))
    assert await text(other) == "a " * 500


async def test_an_engine_may_read_a_prompt_for_longer_than_it_may_pause():
    quiet = "nap " * 80  # 1.6 seconds
    async with running(limits=Limits(silence=1, reading=30)) as worker:
        await worker.load("m", {})
        assert await text(worker.generate(Request(prompt=f"{quiet} word"))) == "word "
        with pytest.raises(WorkerDied, match=r"silent for .* model: in settings\.yaml"):
            await text(worker.generate(Request(prompt=f"word {quiet} word")))
    async with running(limits=Limits(silence=0.1, reading=0.3)) as worker:
        await worker.load("m", {})
        with pytest.raises(WorkerDied, match="silent for"):
            await text(worker.generate(Request(prompt="hang")))


MANIFEST = msgspec.convert(
    {"id": "one", "name": "X", "version": "1", "summary": "", "api": 1}, Manifest
)


@pytest.fixture
def workers(tmp_path, monkeypatch):
    async def prepare(*_):
        return PYTHON

    workers = Workers(tmp_path, [], None)  # type: ignore[arg-type]
    monkeypatch.setattr(workers, "prepare", prepare)
    return workers


async def test_the_user_says_how_long_an_engine_may_be_silent(workers):
    for settings, limits in ((Engines(), Limits()), (Engines(7), Limits(silence=7, reading=70))):
        workers.settings = lambda settings=settings: settings
        file, _, name = CODE.rpartition(":")
        code = f"{Path(file).name}:{name}"
        record = Record("one", Path(file).parent, MANIFEST)
        worker = await workers.start(record, code, "", None, {})
        assert worker._limits == limits
        await worker.close()


async def test_what_an_engine_says_is_logged_as_gravely_as_it_says(workers, tmp_path, caplog):
    (tmp_path / "loud.py").write_text(
        "import sys\n"
        "from tests.engines.scripted import Engine as Scripted\n"
        "class Engine(Scripted):\n"
        "    def speak(self):\n"
        "        sys.stderr.write('error: no 100%\\nwarning: few\\nall: well\\n')\n"
    )
    with caplog.at_level("DEBUG", "extensions.one.worker"):
        record = Record("one", tmp_path, MANIFEST)
        worker = await workers.start(record, "loud.py:Engine", "", None, {})
        await worker.call("speak")
        await worker.close()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("ERROR", "error: no 100%"), ("WARNING", "warning: few"), ("DEBUG", "all: well"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "words"),
    [("segfault", "SIGSEGV) while loading"), ("starve", "out of memory while loading")],
)
async def test_death_during_load(what, words):
    async with running() as worker:
        with pytest.raises(WorkerDied) as caught:
            await worker.load(what, {})
        assert words in str(caught.value)


async def test_a_machine_that_slept_makes_no_engine_hang():
    """Both stop and go on, as after Ctrl+Z, a paused container or a closed lid."""
    async with running(limits=Limits(silence=1, alive=1.5)) as worker:
        await worker.load("model", {})
        child = worker.pid
        reply = worker.generate(Request(prompt="drip", sampling=Sampling(max_new_tokens=5)))
        os.kill(child, signal.SIGSTOP)
        time.sleep(3)  # noqa: ASYNC251, the loop is stopped as well
        os.kill(child, signal.SIGCONT)
        assert await text(reply)
        assert not worker.died.done()


async def test_a_refused_file_leaves_the_worker_alive():
    async with running() as worker:
        with pytest.raises(WorkerError, match="a fault in a step"):
            await worker.load("fault", {})
        assert (await worker.load("m", {})).name == "m"


async def test_a_cancelled_load_kills_the_worker():
    async with running() as worker:
        begun = asyncio.Event()
        load = asyncio.create_task(worker.load("hang", {}, lambda *_: begun.set()))
        await begun.wait()
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert await asyncio.wait_for(worker.died, 20) == "The loading was cancelled."


async def test_a_start_that_is_given_up_before_there_is_a_pipe_leaves_nothing(monkeypatch):
    loop, complaints, processes = asyncio.get_running_loop(), [], []
    spawn = spawning.spawn

    async def given_up(child, command, env):
        processes.append(child())
        (await spawn(lambda: processes[0], command, env)).close()
        raise asyncio.CancelledError

    monkeypatch.setattr("kernel.worker.spawn", given_up)
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with pytest.raises(asyncio.CancelledError):
        await Worker.start(PYTHON, CODE)
    [process] = processes
    await eventually(lambda: gone(process.transport.get_pid()) and process.transport.is_closing())
    assert not complaints


async def test_a_load_that_says_nothing_for_long_is_a_hang_though_its_process_lives():
    async with running(limits=Limits(silence=60, reading=1, loading=4)) as worker:
        with pytest.raises(WorkerDied, match="silent for"):
            await asyncio.wait_for(worker.load("hang", {}), 30)


@pytest.mark.parametrize("beside", ["answered", "waiting"])
async def test_a_reply_that_hangs_is_ended_whatever_else_the_engine_is_asked(beside: str):
    """A program that counts tokens all the time is answered on a thread of its own."""
    async with running(limits=Limits(silence=0.3, reading=0.6)) as worker:
        await worker.load("m", {})

        async def ask() -> None:
            while True:  # The second waits for the step that hangs, once that has begun.
                await worker.call("echo" if beside == "answered" else "adapters")
                await asyncio.sleep(0.05)

        reply = worker.generate(Request(prompt="one hang"))
        assert (await anext(reply)).text == "one "
        asking = asyncio.create_task(ask())
        async with asyncio.timeout(10):
            with pytest.raises(WorkerDied, match="silent for"):
                await text(reply)
            with pytest.raises(WorkerDied):
                await asking


async def test_a_long_call_costs_no_reply_that_it_holds_up(tmp_path):
    """Its engine's steps: one shorter than a reply may be silent, and a call that is longer."""
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "from tests.engines.scripted import Engine as Scripted\n"
        "class Engine(Scripted):\n"
        "    def pause(self):\n"
        "        time.sleep(0.15)\n"
        "    def work(self):\n"
        "        time.sleep(0.4)\n"
    )
    async with running(f"{tmp_path / 'slow.py'}:Engine", limits=Limits(silence=0.2)) as worker:
        await worker.load("m", {})
        reply = worker.generate(Request(prompt="one pause pause two"))
        assert (await anext(reply)).text == "one "
        await worker.call("work")
        assert await text(reply) == "two "


async def test_no_sign_of_life_is_a_hang():
    async with running(limits=Limits(silence=60, alive=1.5)) as worker:
        await worker.load("m", {})
        worker._watch()
        frozen = asyncio.create_task(worker.call("freeze"))
        with pytest.raises(WorkerDied, match="hung while working"):
            await asyncio.wait_for(frozen, 20)


async def test_an_engine_that_is_asked_all_the_time_gives_its_sign_of_life(monkeypatch):
    """Else an alarm ends it after three minutes, as one whose interpreter hangs."""
    calls = []
    monkeypatch.setattr(worker_host, "die_unless_called_again", calls.append)
    here, there = socket.socketpair()
    with here, there:
        host = worker_host.Host(there, None)  # type: ignore[arg-type]
        here.sendall(b"once")
        assert host.exactly(4) == b"once"
        assert calls == [], "a second has not passed"
        host.told -= 1
        here.sendall(b"moreagain")
        assert (host.exactly(4), host.exactly(5)) == (b"more", b"again")
        assert here.recv(1000) == frames.pack(frames.Alive())
    assert calls == [180]


async def test_an_engine_imports_from_others_without_running_them(tmp_path):
    """An extension's `__init__` is the server's: an engine's environment lacks what it needs."""
    (tmp_path / "borrowing.py").write_text(
        "import sys\n"
        "import extensions.llama_cpp.files\n"
        "from tests.engines.scripted import Engine as Scripted\n"
        "class Engine(Scripted):\n"
        "    def here(self):\n"
        "        return [name for name in ('kernel.api', 'starlette') if name in sys.modules]\n"
    )
    async with running(f"{tmp_path / 'borrowing.py'}:Engine") as worker:
        assert await worker.call("here") == []


async def test_an_engine_does_what_can_wait_while_nobody_asks(tmp_path):
    (tmp_path / "resting.py").write_text(
        "from tests.engines.scripted import Engine as Scripted\n"
        "class Engine(Scripted):\n"
        "    pieces, open = [], 3\n"
        "    def submit(self, id, request):\n"
        "        self.pieces.append('asked')\n"
        "        super().submit(id, request)\n"
        "    def rest(self):\n"
        "        self.pieces.append(self.open)\n"
        "        self.open -= 1\n"
        "        return 3 / self.open > 0\n"
        "    def told(self):\n"
        "        return self.pieces\n"
    )
    async with running(f"{tmp_path / 'resting.py'}:Engine") as worker:
        await worker.load("m", {})
        assert await worker.call("told") == []
        await asyncio.gather(*[text(worker.generate(Request(prompt="nap " * 9))) for _ in "ab"])
        told = []
        async with asyncio.timeout(20):
            while len(told) < 5:
                await asyncio.sleep(2 * worker_host.QUIET)  # Each question is something to do.
                told = await worker.call("told")
        assert told[:5] == ["asked", "asked", 3, 2, 1], "the third fails, which costs nothing else"
        assert await text(worker.generate(Request(prompt="a b"))) == "a b "


@pytest.mark.parametrize(
    ("line", "place", "author"),
    [
        ("import a_library", "a_library' (broken.py, line 1). What it needs", True),
        ("import ctypes; ctypes.CDLL('a_library.so.12')", "(broken.py, line 1). What", False),
    ],
)
async def test_an_engine_that_cannot_start_says_why(tmp_path, line, place, author):
    """M7: also where a library of the system is not there."""
    (tmp_path / "__init__.py").write_text("raise SystemExit('no package is imported in a child')")
    (tmp_path / "broken.py").write_text(line)
    async with running(f"{tmp_path / 'broken.py'}:Engine") as worker:
        with pytest.raises(WorkerDied, match="a_library"):
            await worker.load("m", {})
        said = await asyncio.wait_for(worker.died, 20)
        assert place in said
        assert ("`python` below [worker] in extension.toml" in said) is author
        assert f"delete {sys.prefix}, and the next load installs the engine anew." in said
    with pytest.raises(WorkerDied, match="Build its environment again"):
        await Worker.start(tmp_path / "python", CODE)


async def test_a_slip_in_an_engines_file_is_told_with_its_one_place(tmp_path):
    (tmp_path / "__init__.py").touch()
    (tmp_path / "broken.py").write_text("a = 1\nb = = 2\n")
    async with running(f"{tmp_path / 'broken.py'}:Engine") as worker:
        said = await asyncio.wait_for(worker.died, 20)
        assert said.endswith("SyntaxError: invalid syntax (broken.py, line 2)")


@pytest.mark.parametrize("size", [10**8, pytest.param(10**9, marks=pytest.mark.long)])
async def test_much_output_costs_neither_memory_nor_time(size: int):
    told = []
    async with running(on_log=told.append) as worker:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = last = time.thread_time()  # The loop's own: a busy machine takes none of it.
        longest, done = 0.0, False

        async def watch():
            nonlocal longest, last
            while not done:
                await asyncio.sleep(0.001)
                longest, last = max(longest, time.thread_time() - last), time.thread_time()

        watching = asyncio.create_task(watch())
        await worker.load("m", {})
        await worker.call("write", size=size)
        await worker.call("long_line")
        done = True
        await watching
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
        assert longest < 0.02, "the loop was never busy for long"
        assert last - begun < size * 6e-9, "nor all the time: a gigabyte takes one second"
        assert len(told) < 200 * 60
        assert len(worker.log_tail) == 200


CALLED = """
import sys
import time

class Engine:
    concurrent, asked, worked = ("steps", "leave"), 0, 0

    def __getattr__(self, name):
        self.asked += name == "poll"
        raise AttributeError(name)

    def call(self, name, report, cancelled):
        return getattr(self, f"_{name}")()

    def _steps(self):
        before = self.asked
        time.sleep(0.1)
        return self.asked - before

    def _leave(self):
        sys.exit("now")

    def _work(self):
        time.sleep(0.05)
        self.worked += 1

    def _so_far(self):
        return self.worked
"""


async def test_what_is_no_model_and_so_has_no_steps_rests_while_it_is_called(tmp_path: Path):
    (tmp_path / "called.py").write_text(CALLED)
    async with running(f"{tmp_path / 'called.py'}:Engine") as worker:
        assert await worker.call("steps") == 0


async def test_a_call_that_ends_its_thread_is_told(tmp_path: Path):
    (tmp_path / "called.py").write_text(CALLED)
    async with running(f"{tmp_path / 'called.py'}:Engine") as worker, asyncio.timeout(10):
        with pytest.raises(WorkerError, match="SystemExit now"):
            await worker.call("leave")


async def test_calls_that_nobody_waits_for_any_more_are_not_begun(tmp_path: Path):
    (tmp_path / "called.py").write_text(CALLED)
    async with running(f"{tmp_path / 'called.py'}:Engine") as worker:
        calls = [asyncio.create_task(worker.call("work")) for _ in range(10)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        assert await worker.call("so_far") < 10


async def test_replies_go_on_however_many_calls_there_are(worker):
    calls = [asyncio.create_task(worker.call("pause")) for _ in range(50)]
    reply = worker.generate(Request(prompt="word " * 20))
    assert await text(reply) == "word " * 20
    assert not all(call.done() for call in calls)
    await asyncio.gather(*calls)


async def test_frames_have_a_largest_size(worker):
    with pytest.raises(WorkerError, match="more than"):
        await worker.call("large", size=70_000_000)
    assert len(await worker.call("large", size=20_000_000)) == 20_000_000
    with pytest.raises(WorkerError, match="cannot be sent"):
        await worker.call("echo", data=bytes(70_000_000))
    with pytest.raises(WorkerError, match="cannot be sent"):
        await text(worker.generate(Request(prompt="x" * 70_000_000)))
    assert await worker.call("echo") == {}


@pytest.mark.parametrize("end", ["close", "killed"])
async def test_grandchildren_end_with_the_worker(end):
    async with running() as worker:
        await worker.load("m", {})
        grandchild = await worker.call("child")
        assert not gone(grandchild)
        if end == "killed":
            with pytest.raises(WorkerDied):
                await worker.call("killed")
    await eventually(lambda: gone(grandchild) or zombie(grandchild))


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


async def eventually(condition, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


SERVER = """
import asyncio, sys
from pathlib import Path
from kernel.worker import Worker
async def main():
    worker = await Worker.start(Path(sys.executable), sys.argv[1])
    await worker.load("m", {})
    child = await worker.call("child")
    print(worker._process.transport.get_pid(), child, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_killed_server_leaves_no_orphan():
    server = await asyncio.create_subprocess_exec(
        PYTHON, "-c", SERVER, CODE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent
    )
    assert server.stdout
    worker, child = map(int, (await server.stdout.readline()).split())
    server.kill()
    await server.wait()
    await eventually(lambda: all(gone(pid) or zombie(pid) for pid in (worker, child)))


async def test_the_environment_of_a_child(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    async with running(env={"OMP_WAIT_POLICY": "ACTIVE"}) as worker:
        environ = await worker.call("environ")
    assert environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert environ["PYTHONPATH"] == str(Path(__file__).parent.parent)
    assert environ["HF_HUB_OFFLINE"] == "1"
    assert platform_.CHANNEL not in environ


async def test_it_spares_processors_and_keeps_quiet_whatever_the_server_was_told(monkeypatch):
    """Threads that spin while they wait cost a machine with few processors most of its speed."""
    told = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GGML_NO_BACKTRACE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    for name in told:
        monkeypatch.setenv(name, "ACTIVE")
    async with running() as worker:
        has = await worker.call("environ")
    assert {name: has[name] for name in told} == told


async def test_a_loopback_channel_takes_only_who_knows_the_secret(monkeypatch):
    """What Windows does, tried here; a stranger connects first and is turned away."""
    spawn = spawning.spawn

    async def over_loopback(child, command, env):
        return await spawn(child, command, env, loopback=True)

    accept = spawning._accept

    async def after_a_stranger(listener, secret):
        stranger = spawning.socket.create_connection(listener.getsockname())
        stranger.sendall(b"0" * len(secret))
        with stranger:
            return await accept(listener, secret)

    monkeypatch.setattr("kernel.worker.spawn", over_loopback)
    monkeypatch.setattr(spawning, "_accept", after_a_stranger)
    async with running() as worker:
        await worker.load("m", {})
        assert await text(worker.generate(Request(prompt="over loopback"))) == "over loopback "


async def test_a_child_that_ends_before_it_calls_is_not_waited_for():
    def child() -> Process:
        return Process(lambda _: None, lambda _: None)

    with pytest.raises(OSError, match="it ended at once"):
        async with asyncio.timeout(30):
            await spawning.spawn(child, [sys.executable, "-c", "exit(3)"], os.environ, True)


async def test_frames_survive_any_cut():
    heard, garbage, pipe = [], [], None
    stream = frames.pack(frames.Alive()) + frames.pack(frames.Progress(3, 0.5, "half"))
    for cut in range(len(stream)):
        pipe = Frames(heard.append, lambda: garbage.append(1), lambda what: None)
        pipe.data_received(stream[:cut])
        pipe.data_received(stream[cut:])
    assert heard == [frames.Alive(), frames.Progress(3, 0.5, "half")] * len(stream)
    assert not garbage
    assert pipe
    pipe.data_received(b"\x01\x00\x00\x00\xff")
    assert garbage
    assert msgspec.msgpack.decode(frames.pack(frames.Alive())[4:]) == {"type": "Alive"}


async def test_tokens_are_cheap(worker):
    """A floor for the protocol: thousands of one-word steps a second, on a busy machine too."""
    begun = time.monotonic()
    assert len((await text(worker.generate(Request(prompt="w " * 5000)))).split()) == 5000
    assert time.monotonic() - begun < 5


async def test_it_says_whether_it_is_busy(worker: Worker):
    assert not worker.busy
    reply = worker.generate(Request(prompt="a b c"))
    assert worker.busy
    assert await text(reply)
    assert not worker.busy
    calling = asyncio.create_task(worker.call("echo", value=1))
    await asyncio.sleep(0)
    assert worker.busy
    await calling
    assert not worker.busy
