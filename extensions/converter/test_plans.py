"""What is converted into what, what is offered, and how the parts get their names."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.converter import converting
from extensions.converter.converting import Conversion, died, publish
from extensions.converter.finding import Found, find
from extensions.converter.limits import available, starved
from extensions.converter.outline import Program, Unfit
from extensions.converter.plans import plan_of
from extensions.converter.sentences import sentence
from kernel.api import Refused, WorkerDied, WorkerError
from tests.torch_files import plain

PARTS = [f"pytorch_model-0000{n}-of-00003.bin" for n in (1, 2, 3)]


def laid(folder: Path, *names: str, **config: Any) -> Path:
    """A folder of a model with files of weights of these names."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in names:
        plain(folder / name)
    return folder


def index(folder: Path, *names: str) -> Path:
    weights = {f"w{n}": name for n, name in enumerate(names)}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weights}))
    return folder


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        (["pytorch_model.bin"], ["model.safetensors"]),
        (["adapter_model.bin"], ["adapter_model.safetensors"]),
        (["llama-4bit-64g.pt"], ["model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin", "optimizer.pt"], ["model.safetensors"]),
        (["pytorch_model.bin", "consolidated.00.pth"], ["model.safetensors"]),
        (
            PARTS,
            [
                *(f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)),
                "model.safetensors.index.json",
            ],
        ),
    ],
)
def test_a_folder(tmp_path: Path, names: list[str], targets: list[str]):
    plan = plan_of(laid(tmp_path / "model", *names))
    assert [path.name for path in plan.targets] == targets
    assert plan_of(laid(tmp_path / "model") / names[0]).targets == plan.targets


def test_a_file_alone(tmp_path: Path):
    plan = plan_of(plain(tmp_path / "rwkv.7B.pth"))
    assert [path.name for path in plan.targets] == ["rwkv.7B.safetensors"]
    assert plan.part(plan.steps[0]).name == ".rwkv.7B.safetensors.part"


def test_whether_the_output_is_tied(tmp_path: Path):
    folder = laid(tmp_path / "model", "pytorch_model.bin", tie_word_embeddings=True)
    assert plan_of(folder).tied
    for config in ("[" * 10_000, '{"tie_word_embeddings": 7}', "[]"):
        (folder / "config.json").write_text(config)
        assert not plan_of(folder).tied


def folder_with(*names: str) -> Callable[[Path], Path]:
    return lambda folder: laid(folder, *names)


def missing_part(folder: Path) -> Path:
    return index(laid(folder, *PARTS[:2]), *PARTS)


def uncounted(folder: Path) -> Path:
    return laid(folder, "pytorch_model-00001-of-99999.bin")


def two_models(folder: Path) -> Path:
    return laid(folder, "pytorch_model-00001-of-00001.bin", "pytorch_model-00001-of-00002.bin")


def upwards(folder: Path) -> Path:
    plain(folder.parent / "pytorch_model-00001-of-00001.bin")
    return index(laid(folder), "../pytorch_model-00001-of-00001.bin")


def absolute(folder: Path) -> Path:
    return index(laid(folder), "/etc/passwd")


def foreign(folder: Path) -> Path:
    return index(laid(folder, "evil.bin"), "evil.bin")


def no_index(folder: Path) -> Path:
    (laid(folder, *PARTS) / "pytorch_model.bin.index.json").write_text("[" * 100_000)
    return folder


def index_that_waits(folder: Path) -> Path:
    os.mkfifo(laid(folder, *PARTS) / "pytorch_model.bin.index.json")
    return folder


def waits(folder: Path) -> Path:
    os.mkfifo(laid(folder) / "pytorch_model.bin")
    return folder


def endless(folder: Path) -> Path:
    (laid(folder) / "pytorch_model.bin").symlink_to("/dev/zero")
    return folder


def nowhere(folder: Path) -> Path:
    (laid(folder) / "pytorch_model.bin").symlink_to(folder / "gone")
    return folder


def occupied(folder: Path) -> Path:
    """A link where the new file would be: what it leads to must not be written."""
    folder = laid(folder, "adapter_model.bin")
    (folder / "adapter_model.safetensors").symlink_to(folder.parent / "victim")
    return folder


def llama2(folder: Path) -> Path:
    """What other programs call .bin, and a download that was cut."""
    (laid(folder) / "pytorch_model.bin").write_bytes(bytes(100))
    return folder


def ready(folder: Path) -> Path:
    (laid(folder, "pytorch_model.bin") / "model-00001-of-00002.safetensors").touch()
    return folder


REFUSED = {
    "nothing": (folder_with(), "no .bin"),
    "several": (folder_with("a.pt", "b.pt"), "several files.*convert FILE"),
    "a part is missing": (missing_part, "00003-of-00003.bin is missing"),
    "far too many parts": (uncounted, "more than any|missing"),
    "two models": (two_models, "two models"),
    "upwards": (upwards, "no part of it"),
    "absolute": (absolute, "no part of it"),
    "foreign": (foreign, "no part of it"),
    "a damaged index": (no_index, "index.json is damaged"),
    "an index that waits": (index_that_waits, "no file"),
    "a pipe": (waits, "is no file"),
    "a link to what has no end": (endless, "is no file"),
    "a link that leads nowhere": (nowhere, "cannot be read"),
    "a link in its place": (occupied, "is there already"),
    "safetensors": (ready, "already"),
    "another program's": (llama2, "no file of PyTorch"),
}


@pytest.mark.skipif(os.name == "nt", reason="pipes and links")
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(tmp_path: Path, what: str):
    make, words = REFUSED[what]
    folder = make(tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Refused, match=f"(?s){words}"):
        plan_of(folder)
    assert sorted(tmp_path.rglob("*")) == before
    assert not any(each.name == "model" for each in find({"models": tmp_path}))


def test_what_is_offered(tmp_path: Path):
    models, loras = tmp_path / "models", tmp_path / "loras"
    models.mkdir()
    loras.mkdir()
    laid(models / "one", "pytorch_model.bin")
    laid(models / "two", *PARTS)
    laid(models / "several", "a.pt", "b.pt")
    laid(models / "done", "pytorch_model.bin")
    (models / "done" / "model.safetensors").touch()
    (models / "llama2.bin").write_bytes(bytes(100))
    plain(models / "alone.pth")
    plain(models / ".hidden.pt")
    laid(models / ".git", "pytorch_model.bin")
    laid(loras / "mine", "adapter_model.bin")
    (models / "round").symlink_to(models)
    found = find({"models": models, "loras": loras})
    assert [(each.place, each.name, each.what) for each in found] == [
        ("models", "alone.pth", "one file"),
        ("models", "one", "one file"),
        ("models", "several/a.pt", "one file"),
        ("models", "several/b.pt", "one file"),
        ("models", "two", "3 files"),
        ("loras", "mine", "adapter"),
    ]
    assert isinstance(found[0], Found)


# --- carrying it out, by a worker that only pretends ------------------------------------


class Pretended:
    """Writes parts as a worker would; `fail` is raised at the call of that number."""

    def __init__(self, fail: Exception | None = None, at: int = 1) -> None:
        self.calls: list[str] = []
        self.closed, self._fail, self._at = 0, fail, at

    async def __call__(self) -> Any:
        return self

    async def call(self, name: str, report: Any, *, source: str, part: str, tied: bool) -> Any:
        self.calls.append(Path(source).name)
        Path(part).write_bytes(source[-30:].encode())  # noqa: ASYNC240  a test may wait for it
        report(0.5, "half")
        await asyncio.sleep(0)
        if self._fail and len(self.calls) == self._at:
            raise self._fail
        number = int(Path(source).name.split("-")[1]) - 1 if "-of-" in Path(source).name else 0
        return {"names": [f"w{number}"], "gone": [], "left_out": []}

    async def close(self, grace: float) -> None:
        self.closed += 1


async def thread(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def conversion(plan: Any, worker: Pretended, kept: list[Any], before: Any = None) -> Conversion:
    start: Any = worker
    return Conversion(plan, start, thread, lambda *_: None, kept.append, before)


async def test_parts_and_their_index(tmp_path: Path):
    folder = index(laid(tmp_path / "model", *PARTS), *PARTS)
    worker, kept = Pretended(), list[Any]()
    done = await conversion(plan_of(folder), worker, kept).run()
    assert (worker.calls, worker.closed) == (PARTS, 1)
    made = json.loads((folder / "model.safetensors.index.json").read_bytes())
    assert made["weight_map"] == {
        f"w{n}": f"model-0000{n + 1}-of-00003.safetensors" for n in range(3)
    }
    assert made["metadata"]["total_size"] == done.size
    assert not [*folder.glob(".*")]
    assert "4 files made" in done.sentence


async def test_it_goes_on_where_it_was(tmp_path: Path):
    """The server ends in the third part: the two before it are not made again."""
    folder = index(laid(tmp_path / "model", *PARTS), *PARTS)
    worker, kept = Pretended(asyncio.CancelledError(), 3), list[Any]()  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await conversion(plan_of(folder), worker, kept).run()
    assert len([*folder.glob(".*.part")]) == 3
    (folder / ".model-00001-of-00003.safetensors.part").write_bytes(b"cut")
    again = Pretended()
    await conversion(plan_of(folder, again=True), again, kept, kept[-1]).run()
    assert again.calls == [PARTS[0], PARTS[2]], "one was damaged meanwhile, one was never ready"
    plain(folder / PARTS[1])


async def test_it_goes_on_with_room_for_what_is_still_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = index(laid(tmp_path / "model", *PARTS), *PARTS)
    plan, kept, disk = plan_of(folder), list[Any](), SimpleNamespace()
    disk.free = converting.SPARE + plan.size
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda _: disk)
    stopped = Pretended(asyncio.CancelledError(), 3)  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await conversion(plan, stopped, kept).run()
    begun = plan.part(plan.steps[2]).stat().st_size  # It is overwritten.
    disk.free = converting.SPARE + (folder / PARTS[2]).stat().st_size - begun
    again = Pretended()
    await conversion(plan_of(folder, again=True), again, kept, kept[-1]).run()
    assert again.calls == PARTS[2:]


async def test_a_source_that_changed_is_converted_again(tmp_path: Path):
    folder = index(laid(tmp_path / "model", *PARTS), *PARTS)
    kept = list[Any]()
    stopped = Pretended(asyncio.CancelledError(), 3)  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await conversion(plan_of(folder), stopped, kept).run()
    os.utime(folder / PARTS[1], ns=(1, 1))
    again = Pretended()
    await conversion(plan_of(folder, again=True), again, kept, kept[-1]).run()
    assert again.calls == PARTS[1:]


async def test_it_goes_on_while_the_parts_get_their_names(tmp_path: Path):
    folder = index(laid(tmp_path / "model", *PARTS), *PARTS)
    kept = list[Any]()
    await conversion(plan_of(folder), Pretended(), kept).run()
    assert kept[-1]["publishing"]
    one, two, _ = (folder / f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3))
    two.rename(folder / f".{two.name}.part")  # as if it had ended before this
    os.link(one, folder / f".{one.name}.part")  # and in the middle of that
    (folder / "model.safetensors.index.json").unlink()
    again = Pretended()
    await conversion(plan_of(folder, again=True), again, kept, kept[-1]).run()
    assert again.calls == []
    assert two.is_file()
    assert (folder / "model.safetensors.index.json").is_file()
    assert not [*folder.glob(".*")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WorkerError("a.bin cannot be converted: so."), r"a\.bin cannot be converted: so\."),
        (WorkerDied("The engine crashed (SIGBUS) while working."), "SIGBUS.*as it was"),
        (WorkerDied("The engine ran out of memory while working."), "Memory ran out.*Close other"),
    ],
)
async def test_a_failure_leaves_nothing(tmp_path: Path, error: Exception, words: str):
    folder = index(laid(tmp_path / "model", *PARTS), *PARTS)
    before = sorted(folder.iterdir())
    worker = Pretended(error, 2)
    with pytest.raises(Refused, match=words):
        await conversion(plan_of(folder), worker, []).run()
    assert sorted(folder.iterdir()) == before
    assert worker.closed == 1


async def test_silence_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(converting, "QUIET", 0.05)

    class Silent(Pretended):
        async def call(self, *_: Any, **__: Any) -> Any:
            await asyncio.sleep(60)

    worker = Silent()
    plan = plan_of(plain(tmp_path / "a.pt"))
    with pytest.raises(Refused, match="given up: nothing happened"):
        await conversion(plan, worker, []).run()
    assert worker.closed == 1


async def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = plan_of(plain(tmp_path / "a.pt"))
    monkeypatch.setattr(converting, "SPARE", 1 << 60)
    worker = Pretended()
    with pytest.raises(Refused, match=r"GB free\. Free some space"):
        await conversion(plan, worker, []).run()
    assert worker.calls == []


@pytest.mark.parametrize("names", [["w0", "w0", "w1"], ["w0", "w1", "w7"]])
async def test_parts_that_make_no_whole(tmp_path: Path, names: list[str]):
    folder = index(laid(tmp_path / "model", *PARTS), *PARTS)

    class Odd(Pretended):
        async def call(self, *words: Any, **more: Any) -> Any:
            said = await super().call(*words, **more)
            return said | {"names": [names[len(self.calls) - 1]]}

    with pytest.raises(Refused, match=r"Two of its files hold|are in none of its files"):
        await conversion(plan_of(folder), Odd(), []).run()
    assert not [*folder.glob("*.safetensors*"), *folder.glob(".*")]


async def test_what_appears_meanwhile_stays(tmp_path: Path):
    folder = index(laid(tmp_path / "model", *PARTS), *PARTS)
    victim, link = tmp_path / "victim", folder / "model-00002-of-00003.safetensors"

    class Meanwhile(Pretended):
        async def call(self, *words: Any, **more: Any) -> Any:
            if not link.is_symlink():
                link.symlink_to(victim)
            return await super().call(*words, **more)

    with pytest.raises(Refused, match="appeared meanwhile"):
        await conversion(plan_of(folder), Meanwhile(), []).run()
    assert not victim.exists()
    assert [*folder.glob("*.safetensors*")] == [link]
    assert not [*folder.glob(".*")]


def test_a_name_that_is_taken_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    part, target = tmp_path / ".a.part", tmp_path / "a.safetensors"
    for links in (True, False):
        if not links:
            monkeypatch.setattr(os, "link", no_links)
        part.write_bytes(b"new")
        target.write_bytes(b"mine")
        with pytest.raises(Refused, match="Move it away first"):
            publish(part, target)
        assert target.read_bytes() == b"mine"
        target.unlink()
        publish(part, target)
        assert (target.read_bytes(), part.exists()) == (b"new", False)
    target.unlink()
    monkeypatch.undo()
    with pytest.raises(Refused, match="went away"):
        publish(part, target)


def no_links(part: Path, target: Path) -> None:
    raise OSError(95, "Operation not supported")


# --- sentences --------------------------------------------------------------------------


def test_each_error_is_a_sentence(tmp_path: Path):
    file, part = plain(tmp_path / "a.bin"), tmp_path / ".a.part"
    allocator = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
    for error, words in (
        (MemoryError(), "not enough memory"),
        (allocator, "not enough memory"),
        (OSError(12, "Cannot allocate memory"), "not enough memory"),
        (OSError(28, "No space left on device"), "disk is full"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (Unfit("it is so"), "a.bin cannot be converted: it is so. Look for"),
        (Program("opening it would run x.y"), "was not opened, for opening it would run x.y."),
        (Refused("As it is."), "As it is."),
    ):
        assert words in sentence(error, file, part)
    assert sentence(RuntimeError("a bug"), file, part) == ""
    assert not starved(RuntimeError("a bug"))
    assert (available() or 1) > 0
    assert "as it was" in died(file, "The engine ended by itself (exit code 1) while working.")
