"""The same with a real llama.cpp: what is saved reaches it, it rests, wakes, leaves its words."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from extensions.models.api import MODELS
from kernel.api import LoadFailed, Sampling
from kernel.testing import App, running
from tests.engines.real import STORIES, interpreter

from .rest import Rest

pytestmark = pytest.mark.engine
GREEDY = Sampling(temperature=0.0, max_new_tokens=12)


async def loaded(app: App, saved: str) -> Any:
    app.kernel.models.mkdir()
    shutil.copy(STORIES / "stories260K.gguf", app.kernel.models / "stories.gguf")
    (app.kernel.models / "config-user.yaml").write_text(saved)
    [models] = app.kernel.registry.values(MODELS)
    await models.load("stories.gguf")
    return app.kernel.slot()


async def test_it_rests_wakes_and_writes_the_same(environments_dir: Path):
    python = interpreter(environments_dir / "xllamacpp")
    async with running("models", "llama_cpp", python=python) as app:
        slot = await loaded(app, ".*stories:\n  n_ctx: 256\n  n_gqa: 8\n")
        assert slot.model.info.context_length == 256
        before = await app.say("Once upon a time", sampling=GREEDY)
        assert "girl" in before
        app.extension("models").configure({"idle_minutes": 1})
        moments = iter([0.0, 0.0, 60.0, 60.0])
        rest = Rest(app.extension("models"), lambda: next(moments, 60.0))
        await rest.look()  # It was used since the look before, which there was none of.
        await rest.look()
        assert (slot.model, rest.of) == (None, "stories")
        assert await app.say("Once upon a time", sampling=GREEDY) == before
        assert slot.model.info.context_length == 256


@pytest.mark.parametrize(
    ("environment", "says"), [("xllamacpp", "load_model"), ("xllamacpp-native", "llama_")]
)
async def test_one_that_is_killed_leaves_its_last_lines(
    environments_dir: Path, environment: str, says: str
):
    python = interpreter(environments_dir / environment)
    async with running("models", "llama_cpp", python=python) as app:
        slot = await loaded(app, "")
        await app.until(lambda: any(says in line for line in slot.report.lines()))
        states, dispose = app.kernel.bus.open(type(slot.state))
        os.kill(slot.model.worker._process.transport.get_pid(), signal.SIGKILL)
        await app.until(lambda: states.qsize() > 0)
        died = states.get_nowait()
        dispose()
        assert "was killed" in died.error
        assert died.lines
        await slot.settled()
        assert slot.model, "it is there again"


async def test_a_file_that_is_cut_off_says_so_and_saves_nothing(environments_dir: Path):
    python = interpreter(environments_dir / "xllamacpp")
    async with running("models", "llama_cpp", python=python) as app:
        slot = await loaded(app, "")
        broken = app.kernel.models / "broken.gguf"
        broken.write_bytes((STORIES / "stories260K.gguf").read_bytes()[:50_000])
        [models] = app.kernel.registry.values(MODELS)
        with pytest.raises(LoadFailed, match=r"broken\.gguf did not load"):
            await models.load("broken.gguf", options={"context_length": 128})
        assert slot.model.info.name == "stories", "what was there is there again"
        assert (app.kernel.models / "config-user.yaml").read_text() == ""
