"""Conversions by the real PyTorch, from the page and in a terminal: the same model comes out."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from extensions.converter.converting import Conversion
from extensions.converter.plans import plan_of
from extensions.converter.test_outline import RUN, with_a_line_that_repaints
from extensions.converter.test_plans import Pretended
from kernel.api import Refused, Worker, WorkerError
from kernel.testing import App, running
from tests.engines.real import ROOT, STORIES, STORY, ask, engine, interpreter
from tests.torch_files import archive, plain, table, tensor

HERE = Path(__file__).parent
SCRIPT = ROOT / "tests" / "engines" / "pickled.py"
ADAPTER = STORIES.parent / "lora-stories260K"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(environments_dir: Path) -> AsyncIterator[Worker]:
    async with engine("converter", environments_dir / "torch") as worker:
        yield worker


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def transformers(environments_dir: Path) -> AsyncIterator[Worker]:
    """What opens the models that were converted."""
    async with engine("transformers", environments_dir / "torch") as worker:
        yield worker


Script = Callable[..., Awaitable[Any]]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def script(environments_dir: Path) -> AsyncIterator[Script]:
    """What tests/engines/pickled.py answers: one process for all, as PyTorch takes seconds."""
    process = await asyncio.create_subprocess_exec(
        *(interpreter(environments_dir / "torch"), SCRIPT),
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 26,
    )
    assert process.stdin
    assert process.stdout
    asking, answers = process.stdin, process.stdout

    async def answer(*words: object) -> Any:
        asking.write(json.dumps([str(word) for word in words]).encode() + b"\n")
        return json.loads(await answers.readline())

    yield answer
    asking.close()
    await process.wait()


def model_at(folder: Path) -> Path:
    """The tiny model without its weights."""
    shutil.copytree(STORIES / "hf", folder, ignore=lambda *_: ["model.safetensors"])
    return folder


async def converted(worker: Worker, path: Path) -> Any:
    """Convert with this worker, which stays."""

    class Lent:
        call = staticmethod(worker.call)

        async def close(self, grace: float) -> None:
            pass

    async def start() -> Any:
        return Lent()

    return await Conversion(plan_of(path), start, asyncio.to_thread, lambda *_: None).run()


def weights(folder: Path) -> list[Path]:
    return [*folder.glob("*.bin")]


def hidden(folder: Path) -> list[str]:
    return [each.name for each in folder.rglob(".*")]


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
class TestModels:
    async def test_a_model_says_the_same(
        self, worker: Worker, script: Script, transformers: Worker, tmp_path: Path
    ):
        forms = [model_at(tmp_path / form) for form in ("new", "old", "wrapped", "parts")]
        await script("make", STORIES / "hf" / "model.safetensors", *forms)
        sources = {each: each.read_bytes() for folder in forms for each in weights(folder)}
        done = {folder.name: await converted(worker, folder) for folder in forms}
        assert [len(each.targets) for each in done.values()] == [1, 1, 1, 4]
        assert {each: each.read_bytes() for each in sources} == sources, "the originals stay"
        assert not hidden(tmp_path)
        for before, after in await script("logits", *forms):
            assert len(before) == 5 * 512
            assert before == after, "bit by bit"
        assert "epoch" in done["wrapped"].sentence
        await transformers.load(forms[-1], {"dtype": "float32"})
        assert (await ask(transformers))[0] == STORY

    async def test_every_kind_of_number_and_all_that_share_bytes(
        self, worker: Worker, script: Script, tmp_path: Path
    ):
        file = tmp_path / "all.pt"
        await script("kinds", file)
        await converted(worker, file)
        made = tmp_path / "all.safetensors"
        found = await script("compared", file, made)
        assert (found["other"], found["lost"]) == ([], [])
        assert len(found["same"]) == 28
        header = made.read_bytes()[8:].split(b'"base"')[0]
        assert b'"__metadata__":{"format":"pt"}' in header

    async def test_an_output_that_is_tied_is_left_out(self, worker: Worker, tmp_path: Path):
        weights = {"lm_head.weight": tensor("0", (2, 3)), "embed.weight": tensor("0", (2, 3))}
        for tied in (True, False):
            folder = tmp_path / str(tied)
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}))
            archive(folder / "pytorch_model.bin", table(weights), {"0": bytes(24)})
            await converted(worker, folder)
            made = (folder / "model.safetensors").read_bytes()
            assert (b'"lm_head.weight":"embed.weight"' in made) == tied
            assert (b'"lm_head.weight":{' in made) != tied

    async def test_an_adapter_applies(
        self, worker: Worker, script: Script, transformers: Worker, tmp_path: Path
    ):
        folder = tmp_path / "adapter"
        shutil.copytree(ADAPTER, folder, ignore=lambda *_: ["adapter_model.safetensors"])
        await script("make", ADAPTER / "adapter_model.safetensors", folder)
        await transformers.load(STORIES / "hf", {"dtype": "float32"})
        with pytest.raises(WorkerError, match=r"adapter_model\.bin.*server\.py convert"):
            await ask(transformers, adapters=((str(folder), 1.0),))
        assert (await converted(worker, folder)).targets == ("adapter_model.safetensors",)
        wish = {"max_new_tokens": 60, "ban_eos_token": True}
        texts = [
            (await ask(transformers, adapters=adapters, **wish))[0]
            for adapters in ((), ((str(folder), 1.0),), ((str(ADAPTER), 1.0),))
        ]
        assert texts[1] == texts[2] != texts[0]


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
class TestHostile:
    async def test_nothing_of_them_is_run(self, worker: Worker, script: Script, tmp_path: Path):
        """By the whole converter, and by PyTorch alone where the outline would have let it pass."""
        canary = tmp_path / "canary"
        for make in RUN:
            file = make(tmp_path / f"{make.__name__}.bin", canary)
            with pytest.raises(Refused, match=r"was not opened|cannot be converted"):
                await converted(worker, file)
        files = [tmp_path / f"{make.__name__}.bin" for make in RUN]
        assert {*await script("second", *files)} <= {"UnpicklingError", "Unfit"}
        assert not canary.exists()
        assert not hidden(tmp_path)

    async def test_bytes_that_are_shared_too_often(self, worker: Worker, tmp_path: Path):
        weights = {f"w{n}": tensor("0", (1000,)) for n in range(50)}
        file = archive(tmp_path / "a.pt", table(weights), {"0": bytes(4000)})
        with pytest.raises(Refused, match="share their bytes"):
            await converted(worker, file)

    async def test_two_readers_have_to_agree(self, worker: Worker, script: Script, tmp_path: Path):
        """A storage that is said to be of two kinds, and an outline that is wrong."""
        weights = {"a": tensor("0", (4,)), "b": tensor("0", (8,), kind="Half")}
        file = archive(tmp_path / "a.pt", table(weights), {"0": bytes(16)})
        with pytest.raises(Refused, match=r"reads something else|damaged"):
            await converted(worker, file)
        same, *others = await script("differing", plain(tmp_path / "b.pt"))
        assert same == ""
        assert ["reads something else" in said for said in others] == [True, True, True]

    async def test_a_link_under_the_hidden_name_is_not_written_through(
        self, worker: Worker, tmp_path: Path
    ):
        file, victim = plain(tmp_path / "a.pt"), tmp_path / "victim"
        victim.write_bytes(b"mine")
        (tmp_path / ".a.safetensors.part").symlink_to(victim)
        await converted(worker, file)
        assert victim.read_bytes() == b"mine"
        assert not (tmp_path / "a.safetensors").is_symlink()

    async def test_a_bit_that_differs_is_seen(self, script: Script, tmp_path: Path):
        file = plain(tmp_path / "a.pt")
        said = await script("altered", file, tmp_path / "part")
        assert "not what was read" in said

    async def test_memory_has_an_end(self, script: Script):
        assert await script("memory") is True


@pytest.mark.engine
class TestEnds:
    async def test_a_worker_that_is_killed_is_a_sentence(
        self, environments_dir: Path, tmp_path: Path
    ):
        file = plain(tmp_path / "a.pt")

        async def start() -> Worker:
            worker = await Worker.start(
                interpreter(environments_dir / "torch"), f"{HERE / 'worker.py'}:Engine"
            )
            os.kill(worker._process.transport.get_pid(), signal.SIGKILL)
            return worker

        with pytest.raises(Refused, match=r"a\.pt was not converted\. .*killed.*as it was"):
            await Conversion(plan_of(file), start, asyncio.to_thread, lambda *_: None).run()
        assert os.listdir(tmp_path) == ["a.pt"]

    async def test_in_a_terminal(self, environments_dir: Path, tmp_path: Path):
        interpreter(environments_dir / "torch")
        models = tmp_path / "models"
        models.mkdir()
        plain(models / "a.pt")
        evil = RUN[0](models / "evil.pt", tmp_path / "canary")

        async def command(*words: str) -> tuple[int | None, str]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "kernel", "convert", *words),
                *("--data-dir", tmp_path / "data", "--model-dir", models),
                *("--environments-dir", environments_dir),
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            return process.returncode, said.decode()

        status, said = await command("a.pt")
        assert (status, (models / "a.safetensors").exists()) == (0, True), said
        assert "a.safetensors made" in said
        assert "the original stays" in said
        status, said = await command(str(evil))
        assert status == 1
        assert "evil.pt was not opened, for opening it would run posix.system" in said
        assert not (tmp_path / "canary").exists()
        status, said = await command("nowhere")
        assert (status, "There is no nowhere" in said) == (1, True)


@pytest.mark.engine
class TestPage:
    async def test_it_stands_on_the_page_until_it_is_converted(
        self, environments_dir: Path, tmp_path: Path
    ):
        python = interpreter(environments_dir / "torch")
        async with running(HERE, "models", python=python, data=tmp_path) as app:
            models = app.kernel.models
            models.mkdir(exist_ok=True)
            plain(models / "small.pt")
            RUN[0](models / "evil.pt", tmp_path / "canary")
            with_a_line_that_repaints(models / "paints.pt", tmp_path / "canary")
            page = await app.open("/models")
            await page.until("small.pt")
            await page.act("converter.convert", file="paints.pt")
            await page.until("would run .{1,5}x1b.2J&lt;script&gt;.system")
            assert "<script>" not in page.html
            await page.act("converter.convert", file="evil.pt")
            await page.until("evil.pt was not opened, for opening it would run posix.system")
            await page.act("converter.convert", file="small.pt")
            await app.until((models / "small.safetensors").is_file)
            await app.until(lambda: not app.kernel.jobs.running)
            assert not hidden(models)
            assert not (tmp_path / "canary").exists()
            await page.act("converter.convert", file="../x.pt")
            await page.until("cannot be the name of a file|Choose")

    async def test_it_goes_on_after_a_restart(self, environments_dir: Path, tmp_path: Path):
        python = interpreter(environments_dir / "torch")
        async with running(HERE, "models", data=tmp_path) as app:
            models = app.kernel.models
            models.mkdir(exist_ok=True)
            plain(models / "small.pt")
            worker = lends(app, Waiting())
            await (await app.open("/models")).act("converter.convert", file="small.pt")
            await app.until(lambda: worker.calls == ["small.pt"])
        assert hidden(models) == [".small.safetensors.part"]
        async with running(HERE, "models", python=python, data=tmp_path) as app:
            await app.until((models / "small.safetensors").is_file)
            await app.until(lambda: not app.kernel.jobs.running)
        assert not hidden(models)


class Waiting(Pretended):
    """A worker that writes its part and is then busy for ever."""

    async def call(self, *words: Any, **more: Any) -> Any:
        await super().call(*words, **more)
        await asyncio.Event().wait()


def lends(app: App, worker: Any) -> Any:
    """Let the extension have this worker instead of one of its own."""

    async def given(*_: Any) -> Any:
        return worker

    app.extension("converter").worker = given  # type: ignore[method-assign]
    return worker


def test_nothing_else_here_opens_such_files():
    """PyTorch's loader is called in one place, and keeps to weights there."""
    found = {
        file.relative_to(ROOT).as_posix(): line.strip()
        for file in (ROOT / "extensions").rglob("*.py")
        if not file.name.startswith("test_")
        for line in file.read_text("utf-8").splitlines()
        if re.search(r"torch\.load\(|use_safetensors=(?!True)", line)
    }
    assert [*found] == ["extensions/converter/writing.py"]
    assert "weights_only=True" in found["extensions/converter/writing.py"]


async def test_cancelled_by_a_person_it_leaves_nothing(tmp_path: Path):
    async with running(HERE, "models", data=tmp_path) as app:
        models = app.kernel.models
        models.mkdir(exist_ok=True)
        file = plain(models / "small.pt")
        worker = lends(app, Waiting())
        page = await app.open("/models")
        await page.act("converter.convert", file="small.pt")
        await app.until(lambda: worker.calls == ["small.pt"])
        await page.until("kernel.cancel_job")
        await page.act("converter.convert", file="small.pt")
        await page.until("is being converted already")
        await page.act("kernel.cancel_job", id=next(iter(app.kernel.jobs.running)))
        await app.until(lambda: not app.kernel.jobs.running)
        await app.until(lambda: [*models.iterdir()] == [file])
        await page.until("kernel.cancel_job.*converter.convert")
        assert worker.closed == 1


async def test_two_clicks_at_once_begin_one_conversion(tmp_path: Path):
    async with running(HERE, "models", data=tmp_path) as app:
        models = app.kernel.models
        models.mkdir(exist_ok=True)
        plain(models / "small.pt")
        worker = lends(app, Waiting())
        page, other = await app.open("/models"), await app.open("/models")
        clicks = [each.act("converter.convert", file="small.pt") for each in (page, other)]
        await asyncio.gather(*clicks)
        assert len(app.kernel.jobs.running) == 1
        await other.until("is being converted already")
        await app.until(lambda: worker.calls == ["small.pt"])


async def test_the_page_of_a_model_offers_it(tmp_path: Path):
    async with running(HERE, "models", "transformers", data=tmp_path) as app:
        model = app.kernel.models / "mine"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        plain(model / "pytorch_model.bin")
        page = await app.open("/models/file/mine")
        await page.until("converter-file.*never loaded as they are.*Convert mine to safetensors")
        lends(app, Pretended(WorkerError("pytorch_model.bin cannot be converted: so.")))
        await page.act("converter.convert", file="mine")
        await page.until('id="converter-file".*hx-swap-oob.*cannot be converted: so')
        (model / "model.safetensors").touch()
        other = await app.open("/models/file/mine")
        await other.until("<h1>mine</h1>")
        assert "never loaded as they are" not in other.html.partition("<h1>mine</h1>")[2]
