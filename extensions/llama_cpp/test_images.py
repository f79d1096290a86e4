"""Pictures in a prompt, seen by a tiny CLIP of random numbers."""

import base64
import random
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from extensions.llama_cpp import prebuilt_costs as costs
from extensions.llama_cpp import prebuilt_images as images
from kernel.api import Image, Message, Refused, Text, Worker, WorkerError
from tests.engines.real import STORIES, STORY, ask, engine
from tests.engines.tiny import make_eyes, make_lora

MODEL = STORIES / "stories260K.gguf"


def png(color: tuple[int, int, int], side: int = 28, more: bytes = b"") -> bytes:
    """With `more` behind its dots."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    rows = (b"\0" + bytes(color) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows + more)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def claims(width: int, height: int, before: bytes = b"IHDR") -> bytes:
    """The head of a PNG."""
    head = struct.pack(">II", width, height)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + before + head + bytes(9)


def jpeg(width: int, height: int) -> bytes:
    """The head of one."""
    size = struct.pack(">HH", height, width)
    return b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + size + bytes(20)


def motion(scans: int = 1) -> bytes:
    """A photo of a telephone, with a film behind it."""
    frame = b"\xff\xc0\x00\x11\x08\x00\x0a\x00\x14\x03" + bytes(9)
    scan = b"\xff\xda\x00\x0c\x03" + bytes(9) + b"\x11\xff\x00\x22\xff\xd0\x33"
    return b"\xff\xd8\xff\xe0\x00\x04ab" + frame + scan * scans + b"\xff\xd9" + b"\xff\xda" * 60


def seen(*colors: tuple[int, int, int], text: str = "Once upon a time") -> dict[str, Any]:
    pictures = [Image(png(color), "image/png") for color in colors]
    return {"messages": (Message("user", (*pictures, Text(text))),), "max_new_tokens": 20}


# --- before the engine ------------------------------------------------------------------


def test_sizes_are_read_from_the_head():
    assert images.size(png((0, 0, 0), 30)) == (30, 30)
    assert images.size(b"GIF89a" + struct.pack("<HH", 7, 9) + b"...") == (7, 9)
    assert images.size(b"BM" + bytes(12) + b"\x28\0\0\0" + struct.pack("<ii", 5, -6) + b"...") == (
        5,
        6,
    )
    assert images.size(jpeg(20, 10)) == (20, 10)
    for bad in (b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0\0" * 9):
        assert images.size(bad) == (0, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RIFFxxxxWEBP", "no PNG, JPEG, GIF or BMP"),
        (png((1, 2, 3))[:20], "no PNG"),
        (claims(60_000, 60_000), "too many"),
        (claims(28, 28, before=b"CgBI"), "no PNG"),
        (claims(1_000_000, 1), "too many"),
        (png((1, 2, 3), more=bytes(1 << 24)), "more than its dots need"),
        (png((1, 2, 3), more=bytes(1 << 24)).replace(b"IDATx", b"IDAT\xff"), "that is whole"),
        (png((1, 2, 3))[:-12], "that is whole"),
        (motion(60), "more than its dots need"),
        (motion().replace(b"\x33\xff\xd9", b"\x33\xff\x01"), "more than its dots need"),
        (jpeg(28, 28) + b"\xff\xda" * 60, "more than its dots need"),
        (jpeg(28, 28).replace(b"\xff\xe0", b"\xff\xff"), "no PNG"),
        (b"GIF89a" + bytes(21 << 20), "at most 20"),
    ],
)
def test_what_would_harm_is_refused(data: bytes, words: str):
    with pytest.raises(Refused, match=words):
        images.marked((Message("user", (Image(data, "image/png"),)),), "[m]")


def test_marks_and_pictures_stay_together():
    picture = Image(png((1, 2, 3)), "image/png")
    told, found = images.marked((Message("user", (Text("a"), picture, Text("b"))),), "[m]")
    assert told[0].text == "a[m]b"
    parts = images.content("<s>a[m]b", "[m]", found)
    assert [part["type"] for part in parts] == ["text", "image_url", "text"]
    with pytest.raises(Refused, match="leaves out a picture"):
        images.content("nothing", "[m]", found)
    with pytest.raises(Refused, match="17 pictures"):
        images.marked((Message("user", (picture,) * 17),), "[m]")


def test_pictures_are_counted_together():
    large = Image(jpeg(8000, 8000), "image/jpeg")
    with pytest.raises(Refused, match="256,000,000 dots together"):
        images.marked((Message("user", (large,) * 4),), "[m]")
    assert len(images.marked((Message("user", (large,) * 3),), "[m]")[1]) == 3


def test_a_picture_that_is_large_and_good_is_no_bomb():
    noise = random.Random(1).randbytes(3 * 1000 * 1000)
    rows = b"".join(b"\0" + noise[at : at + 3000] for at in range(0, len(noise), 3000))
    whole = claims(1000, 1000)[:24] + b"\x08\x02" + bytes(7)
    packed = zlib.compress(rows)
    data = whole + struct.pack(">I", len(packed)) + b"IDAT" + packed + bytes(8) + b"IEND"
    assert images.check(Image(data, "image/png")) == 1_000_000


def test_a_photo_with_a_film_behind_it_is_no_bomb():
    assert images.check(Image(motion(), "image/jpeg")) == 200


def test_a_refusal_says_which_picture_it_is_and_how_to_go_on():
    good, cut = Image(png((1, 2, 3)), "image/png"), Image(png((1, 2, 3))[:60], "image/png")
    asked = (Message("user", (good, Text("a"))), Message("user", (cut,)), Message("user", (good,)))
    words = "Picture 2 of the 3 that were sent cannot be read.*delete the message that has it"
    with pytest.raises(Refused, match=words):
        images.marked(asked, "[m]")


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ((30, 20), (30, 20)),
        ((40_000, 1_000), (25_298, 632)),
        ((0, 0), (3_000, 4_000)),
        ((1, 1), (1, 1)),
    ],
)
def test_a_blank_has_the_size_of_the_picture(asked: tuple[int, int], made: tuple[int, int]):
    data = costs.blank(*asked)
    assert images.size(data) == made
    assert len(data) < 20_000
    images.check(Image(data, "image/png"))


def test_each_size_is_counted_once_by_a_blank_of_it():
    asked: list[list[tuple[int, int]]] = []

    def ask(path: str, messages: Any) -> dict[str, int]:
        urls = [each["image_url"]["url"] for each in messages[0]["content"] if "image_url" in each]
        asked.append([images.size(base64.b64decode(url.partition(",")[2])) for url in urls])
        return {"input_tokens": 7 + sum(width for width, _ in asked[-1])}

    known = costs.Costs(ask)
    assert known.of([(30, 20), (5, 9)]) == [30, 5]
    assert known.of([(5, 9), (30, 20)]) == [5, 30]
    assert asked == [[(30, 20)], [], [(5, 9)], []]


# --- in the engine ----------------------------------------------------------------------

SHARED = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(
    environments_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Worker]:
    eyes = make_eyes(tmp_path_factory.mktemp("eyes") / "mmproj.gguf")
    async with engine("llama_cpp", environments_dir / "xllamacpp") as worker:
        info = await worker.load(MODEL, {"mmproj": str(eyes)})
        assert "images" in info.capabilities
        yield worker


@SHARED
@pytest.mark.engine
async def test_another_picture_makes_another_story(worker: Worker):
    red, blue = seen((255, 0, 0)), seen((0, 0, 255))
    (first, finish, deltas), (other, _, _) = await ask(worker, **red), await ask(worker, **blue)
    assert first
    assert first != other
    assert (await ask(worker, **red))[0] == first
    assert len(deltas) > 5, "it streams"
    assert finish.reason == "length"
    assert finish.usage.completion == 20
    plain = await ask(worker, **seen())
    assert finish.usage.prompt >= plain[1].usage.prompt + 4, "a picture has tokens"


@SHARED
@pytest.mark.engine
async def test_a_picture_is_counted_before_it_is_sent(worker: Worker):
    """As many tokens as the engine then reads; each parts a text, which may cost two more."""
    for many in (1, 2):
        pictures = tuple(Image(png((n, 2, 3)), "image/png") for n in range(many))
        asked = await ask(worker, messages=(Message("user", (*pictures, Text("Hi"))),))
        plain = await ask(worker, messages=(Message("user", (Text("Hi"),)),))
        counted = await worker.call("pictures", sizes=[(28, 28)] * many)
        assert sum(counted) == 4 * many
        assert 0 <= asked[1].usage.prompt - plain[1].usage.prompt - sum(counted) <= 2 * many
    assert await worker.call("pictures", sizes=[(9_000, 9_000), (0, 0), (1, 40_000)]) == [4, 4, 4]


@SHARED
@pytest.mark.engine
async def test_without_a_picture_it_is_the_same_model(worker: Worker):
    assert (await ask(worker))[0] == STORY
    assert (await ask(worker, token_ids=(1, 403, 407, 261, 378)))[0] == STORY
    text, _, deltas = await ask(worker, "The dog", max_new_tokens=5)
    assert text.startswith(" "), "a space at the beginning is a space"
    assert deltas[0].tokens == (), "nobody asked for them"


@SHARED
@pytest.mark.engine
async def test_stops_and_logprobs_with_a_picture(worker: Worker):
    asked = {**seen((255, 0, 0)), "max_new_tokens": 20}
    text, _, deltas = await ask(worker, **asked, logprobs=2)
    tokens = [token for delta in deltas for token in delta.tokens]
    assert b"".join(token.bytes for token in tokens).decode("utf-8", "replace") == text
    assert len(tokens[0].top) == 2
    cut, finish, _ = await ask(worker, **asked, custom_stopping_strings=(text[5:9],))
    assert cut == text[: text.index(text[5:9])]
    assert finish.cut_by == text[5:9]


@SHARED
@pytest.mark.engine
async def test_a_broken_picture_costs_one_request(worker: Worker):
    broken = Image(png((1, 2, 3))[:60], "image/png")
    with pytest.raises(WorkerError):
        await ask(worker, messages=(Message("user", (broken, Text("Hi"))),))
    assert (await ask(worker))[0] == STORY


@pytest.mark.engine
async def test_who_has_no_eyes_says_so(environments_dir: Path, tmp_path: Path):
    async with engine("llama_cpp", environments_dir / "xllamacpp") as blind:
        await blind.load(MODEL, {})
        with pytest.raises(WorkerError, match="knows no call 'pictures'"):
            await blind.call("pictures", sizes=[(1, 1)])
        with pytest.raises(WorkerError, match="cannot do this: images"):
            await ask(blind, **seen((1, 2, 3)))
        with pytest.raises(WorkerError, match="no mmproj file"):
            await blind.load(MODEL, {"mmproj": str(make_lora(tmp_path / "lora.gguf"))})
        others = str(make_eyes(tmp_path / "wide.gguf", 96))
        told = r"with wide\.gguf\. An mmproj fits only the model that it came with.*--verbose"
        with pytest.raises(WorkerError, match=told):
            await blind.load(MODEL, {"mmproj": others})


@pytest.mark.engine
async def test_with_an_mmproj_the_prebuilt_engine_runs(environments_dir: Path, tmp_path: Path):
    eyes = str(make_eyes(tmp_path / "mmproj.gguf"))
    async with engine("llama_cpp", environments_dir / "xllamacpp-native") as worker:
        info = await worker.load(MODEL, {"mmproj": eyes})
        assert "images" in info.capabilities
        assert "state" not in info.capabilities
        with pytest.raises(WorkerError, match="cannot do this: mmproj"):
            await worker.load(MODEL, {"mmproj": eyes, "engine": "native"})
