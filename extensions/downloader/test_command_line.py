"""`python download-model.py`: what its flags mean, what it says, and how it ends."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from extensions.downloader.addresses import Address
from extensions.downloader.checking import check
from extensions.downloader.command_line import differing, missed
from extensions.downloader.plan import Item, Plan, Repository
from extensions.downloader.planning import Places
from extensions.downloader.terminal import Bar
from extensions.downloader.wanted import Wanted, planned
from kernel.api import Refused
from tests.hub import Hub, Made, Repo, serving

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "config.json": "{}",
    "chat_template.jinja": "{{ messages }}",
    "tokenizer.json": "{}",
    "README.md": "# Mine",
    "model.safetensors": Made(6_000_000),
    "pytorch_model.bin": 1000,
    "sub/vocab.json": "{}",
}


def repository(*paths: str) -> Repository:
    items = tuple(Item(path, f"https://hub/{path}", 10) for path in paths)
    return Repository("me/mine", "main", "0" * 40, items)


def plan(repo: Repository, at: Address | None = None, **flags: object) -> Plan:
    """What would be fetched."""
    address = at or Address("me/mine")
    wanted = Wanted.of({"text_only": None, **flags}, address)
    places = wanted.places(Path("/m"), Path("/l"))
    return planned(repo, address, wanted, places, "https://hub")


def paths(plan: Plan) -> set[str]:
    return {item.path for item in plan.items}


def test_what_the_flags_mean_for_the_files():
    repo = repository(*FILES)
    usual = {*FILES} - {"pytorch_model.bin"}
    assert paths(plan(repo)) == usual
    assert plan(repo).folder == "me_mine"
    assert paths(plan(repo, text_only=True)) == usual - {"model.safetensors"}
    assert paths(plan(repo, exclude_pattern="README|sub")) >= {"config.json", "model.safetensors"}
    assert "README.md" not in paths(plan(repo, exclude_pattern="README|sub"))
    assert paths(plan(repo, include_pattern=r"^sub/")) == {"sub/vocab.json"}
    assert paths(plan(repo, specific_file="vocab.json")) == {"sub/vocab.json"}
    assert paths(plan(repo, Address("me/mine", path="sub"))) == {"sub/vocab.json"}
    assert plan(repo, output=Path("/here/it is")).folder == "it is"
    with pytest.raises(Refused, match="Choose another name"):
        plan(repo, output=Path("/here/nul"))
    with pytest.raises(Refused, match="has no file “none”"):
        plan(repo, specific_file="none")
    with pytest.raises(Refused, match="pattern cannot be read"):
        plan(repo, include_pattern="(")
    with pytest.raises(Refused, match="--threads"):
        plan(repo, threads=0)


def test_what_is_left_out_is_not_replaced_by_pickles():
    no_weights = r".*safetensors|.*bin"
    llama = repository("config.json", "model.safetensors", "original/consolidated.pth", "x.bin")
    with pytest.raises(Refused, match=r"leaves nothing of me/mine that can be loaded.*--text-only"):
        plan(llama, exclude_pattern=no_weights)
    assert paths(plan(llama, exclude_pattern="x")) == {"config.json", "model.safetensors"}
    assert paths(plan(llama, include_pattern="pth")) == {"original/consolidated.pth"}
    pickled = repository("config.json", "a.bin", "b.bin", "original/consolidated.pth")
    assert paths(plan(pickled, exclude_pattern="^b")) == {"config.json", "a.bin"}
    with pytest.raises(Refused, match="that can be loaded"):
        plan(pickled, exclude_pattern=no_weights)
    assert paths(plan(pickled, exclude_pattern=no_weights, text_only=True)) == {"config.json"}
    assert paths(plan(repository("README.md", "a.txt"), exclude_pattern="a")) == {"README.md"}


def test_how_many_failed_is_said_in_whole_sentences():
    assert missed(1, 1) == "The file could not be fetched."
    assert missed(8, 8) == "None of the 8 files could be fetched."
    assert missed(1, 8) == "1 of 8 files could not be fetched; the others are kept."
    assert missed(1002, 10_002).startswith("1,002 of 10,002 files")


def test_what_differs_is_fetched_anew_or_moved_away_first():
    model, gguf = plan(repository("config.json", "model.safetensors")), plan(repository("m.gguf"))
    said = differing(model, {"config.json": "right", "model.safetensors": "wrong"})
    assert said.startswith("1 of 2 files is not what the hub has. The same command without --check")
    said = differing(gguf, {"m.gguf": "missing"})
    assert said.startswith("1 of 1 file is not what the hub has. The same command without --check")
    assert "Move it away; the same" in differing(gguf, {"m.gguf": "wrong"})


def test_a_gguf_that_was_cut_off_is_wrong_and_not_missing(tmp_path: Path):
    repo, at, wanted = repository("m.gguf"), Address("me/mine"), Wanted(check=True)
    places = Places(tmp_path, tmp_path / "loras")

    def checked() -> tuple[str, dict[str, str]]:
        plan = planned(repo, at, wanted, places, "https://hub")
        data = {"plan": msgspec.to_builtins(plan), "root": str(tmp_path)}
        return plan.folder, check(data, lambda *_: None, lambda: False)

    assert checked() == ("", {"m.gguf": "missing"})
    (tmp_path / "m.gguf").write_bytes(b"12345")
    assert checked() == ("", {"m.gguf": "wrong"})
    (tmp_path / "me_mine").mkdir()
    (tmp_path / "me_mine" / "m.gguf").write_bytes(b"1234567890")
    assert checked() == ("me_mine", {"m.gguf": "right"}), "the other is another model's"


def test_the_last_word_of_progress_is_that_all_is_done(capsys: pytest.CaptureFixture[str]):
    bar = Bar()
    bar.draw(0.02, "2 KB of 100 KB")
    bar.draw(0.46, "46 KB of 100 KB")
    bar.finish("100 KB of 100 KB")
    assert capsys.readouterr().out == "  2%  2 KB of 100 KB\n100%  100 KB of 100 KB\n"


def test_of_several_gguf_the_usual_one_or_the_one_that_was_named():
    several = repository("m-Q4_K_M.gguf", "m-Q8_0.gguf", "README.md")
    assert paths(plan(several)) == {"m-Q4_K_M.gguf"}
    assert plan(several).folder == ""
    assert paths(plan(several, Address("me/mine", quantization="Q8_0"))) == {"m-Q8_0.gguf"}
    other = repository("m-Q5_K_S.gguf", "m-Q8_0.gguf")
    for at in (Address("me/mine"), Address("me/mine", quantization="Q2_K")):
        with pytest.raises(Refused, match=r"(?s)m-Q5_K_S.gguf.*m-Q8_0.gguf.*--specific-file"):
            plan(other, at)
    assert paths(plan(repository("m-IQ2_M.gguf"))) == {"m-IQ2_M.gguf"}


def test_where_files_go():
    folders = Wanted.of({"user_data_dir": Path("/u")}, Address("a/b")).places(Path("m"), Path("l"))
    assert folders == Places(Path("/u/models"), Path("/u/loras"))
    out = Wanted.of({"output": Path("/x/y")}, Address("a/b")).places(Path("m"), Path("l"))
    assert out.of("loras") == Path("/x")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving(Hub(Repo("me/mine"))) as hub:
        hub["me/mine"].commit(FILES)
        yield hub


async def run(hub: Hub, data: Path, environments: Path, *words: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-P", "-m", "kernel", "download", *words, "--data-dir", str(data)]
    return await asyncio.create_subprocess_exec(
        *command,
        "--environments-dir",
        str(environments),
        cwd=data,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    said, _ = await process.communicate()
    process._transport.close()  # type: ignore[attr-defined]
    return process.returncode or 0, said.decode()


@pytest.mark.engine
async def test_from_a_terminal(hub: Hub, tmp_path: Path, environments_dir: Path):
    async def asked(*words: str) -> tuple[int, str]:
        out = ("me/mine", "--user-data-dir", str(tmp_path / "mine"))
        return await ended(await run(hub, tmp_path, environments_dir, *out, *words))

    code, said = await asked()
    assert (code, "All is there, and checked" in said) == (0, True), said
    assert "100%  6.0 MB of 6.0 MB\nAll is there" in said
    folder = tmp_path / "mine" / "models" / "me_mine"
    assert {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()} == {
        *FILES, "huggingface-metadata.txt",
    } - {"pytorch_model.bin"}  # fmt: skip
    (folder / "config.json").write_text("[]")
    code, said = await asked("--check")
    assert code == 1
    assert "1 of 6 files is not what the hub has" in said
    assert "wrong    config.json" in said
    assert "right    model.safetensors" in said
    assert (await asked("--threads", "2", "--max-retries", "1"))[0] == 0
    assert (await asked("--check"))[0] == 0
    assert (await ended(await run(hub, tmp_path, environments_dir)))[0] == 2


@pytest.mark.engine
async def test_what_is_kept_by_xet(tmp_path: Path, environments_dir: Path):
    """huggingface_hub says so, and hf_xet of the worker's environment fetches it."""
    repo = Repo("me/mine", xet=True)
    repo.commit({"model.gguf": Made(17_000_000)})
    with serving(Hub(repo)) as hub:
        for more, place in (((), "xorb"), (("--no-xet",), "bytes")):
            hub.asked.clear()
            words = ("me/mine", "--output", str(tmp_path / place), *more)
            code, said = await ended(await run(hub, tmp_path, environments_dir, *words))
            assert code == 0, said
            assert "All is there, and checked" in said
            assert {a.place for a in hub.asked if a.place in ("xorb", "bytes")} == {place}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a shell began in the background passes on that nobody wants to hear of Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.engine
@pytest.mark.usefixtures("interruptible")
async def test_ctrl_c_and_the_same_command_goes_on(
    hub: Hub, tmp_path: Path, environments_dir: Path
):
    fault = hub.misbehave("stall", "bytes:*.safetensors", at=4_500_000)
    words = ("me/mine", "--output", str(tmp_path / "mine"))
    process = await run(hub, tmp_path, environments_dir, *words)
    while fault.times or hub.sent("model.safetensors") < 4_000_000:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    process.send_signal(signal.SIGINT)
    code, said = await ended(process)
    assert code == 130, said
    assert "The same command goes on" in said
    assert not (tmp_path / "mine").exists()
    sent = hub.sent("model.safetensors")
    code, said = await ended(await run(hub, tmp_path, environments_dir, *words))
    assert code == 0, said
    assert (tmp_path / "mine" / "model.safetensors").stat().st_size == 6_000_000
    assert hub.sent("model.safetensors") - sent < 3_000_000
