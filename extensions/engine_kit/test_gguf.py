"""The checks of GGUF files: what each of them refuses, and that good ones pass."""

import math
import struct
import time
from pathlib import Path

import pytest

from extensions.engine_kit.api import (
    check_gguf,
    check_gguf_adapter,
    check_gguf_model,
    check_gguf_projector,
)
from kernel.api import Refused

DATA = Path(__file__).parents[2] / "tests" / "data"
STORIES = DATA / "stories260K/stories260K.gguf"


def text(value):
    return struct.pack("<Q", len(value)) + value


def a_gguf(keys=None, tensors=None, data=64, version=3, counts=None, magic=b"GGUF"):
    """A small file; keys are given as (type, bytes), tensors as (name, shape, type, offset)."""
    all_keys = {
        b"general.architecture": (8, text(b"llama")),
        b"llama.block_count": (4, struct.pack("<I", 1)),
        **(keys or {}),
    }
    tensors = [(b"blk.0.w", (4, 4), 0, 0)] if tensors is None else tensors
    made = magic + struct.pack("<I", version)
    made += struct.pack("<QQ", *(counts or (len(tensors), len(all_keys))))
    for key, (kind, value) in all_keys.items():
        made += text(key) + struct.pack("<I", kind) + value
    for name, shape, kind, offset in tensors:
        made += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return made + bytes(-len(made) % 32 + data)


def number(value):
    return 4, struct.pack("<I", value)


def texts(*values):
    return 9, struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


BYTES = tuple(b"<0x%02X>" % byte for byte in range(256))
BAD_GGUF = {
    "empty": b"",
    "not a GGUF": a_gguf(magic=b"GGML"),
    "a first version": a_gguf(version=1),
    "a version that is none": a_gguf(version=3 << 24),
    "a future version": a_gguf(version=99),
    "too many tensors": a_gguf(counts=(2**62, 2)),
    "too many keys": a_gguf(counts=(1, 2**63)),
    "fewer keys than it says": a_gguf(counts=(1, 500)),
    "a long string": a_gguf({b"a": (8, struct.pack("<Q", 2**40))}),
    "a list that never ends": a_gguf({b"a": (9, struct.pack("<IQ", 8, 2**60))}),
    "a long list of numbers": a_gguf({b"a": (9, struct.pack("<IQ", 4, 2**60))}),
    "lists in lists": a_gguf({b"a": (9, struct.pack("<IQ", 9, 1) * 100_000)}),
    "an unknown type": a_gguf({b"a": (77, b"")}),
    "a key that is no text": a_gguf({b"\xff\xfe": number(1)}),
    "an architecture that is a number": a_gguf({b"general.architecture": number(1)}),
    "an absurd alignment": a_gguf({b"general.alignment": number(0)}),
    "no tensors": a_gguf(tensors=[]),
    "five dimensions": a_gguf(tensors=[(b"a", (1,) * 5, 0, 0)]),
    "dimensions that overflow": a_gguf(tensors=[(b"a", (2**33, 2**33), 0, 0)]),
    "an empty dimension": a_gguf(tensors=[(b"a", (4, 0), 0, 0)]),
    "half a block": a_gguf(tensors=[(b"a", (33,), 8, 0)]),
    "an unknown kind of tensor": a_gguf(tensors=[(b"a", (4,), 4000, 0)]),
    "an offset past the end": a_gguf(tensors=[(b"a", (4, 4), 0, 2**40)]),
    "a crooked offset": a_gguf(tensors=[(b"a", (4,), 0, 3)]),
    "tensors on top of each other": a_gguf(tensors=[(b"a", (16,), 0, 0), (b"b", (8,), 0, 32)]),
    "one name twice": a_gguf(tensors=[(b"a", (4,), 0, 0), (b"a", (4,), 0, 32)]),
    "cut off": a_gguf(data=40),
    "blocks that are not there": a_gguf({b"llama.block_count": number(3)}),
    "a million blocks": a_gguf({b"llama.block_count": number(10**6)}),
    "no room for a word": a_gguf({b"llama.context_length": number(0)}),
    "a size that is no number": a_gguf({b"llama.embedding_length": (8, text(b"x"))}),
    "a negative epsilon": a_gguf({b"llama.epsilon": (6, struct.pack("<f", -1))}),
    "a number that is none": a_gguf({b"llama.freq_base": (6, struct.pack("<f", math.nan))}),
    "a tokenizer without bytes": a_gguf(
        {b"tokenizer.ggml.model": (8, text(b"llama")), b"tokenizer.ggml.tokens": texts(b"a", b"b")}
    ),
    "a tokenizer without tokens": a_gguf({b"tokenizer.ggml.model": (8, text(b"gpt2"))}),
    "more scores than tokens": a_gguf(
        {
            b"tokenizer.ggml.tokens": texts(b"a"),
            b"tokenizer.ggml.scores": (9, struct.pack("<IQ2f", 6, 2, 0, 0)),
        }
    ),
    "an endless template": a_gguf({b"tokenizer.chat_template": (8, text(b"x" * 1_000_001))}),
    "a template that is a number": a_gguf({b"tokenizer.chat_template": number(1)}),
    "a tokenizer that is a number": a_gguf({b"tokenizer.ggml.model": number(1)}),
    "scores that are one number": a_gguf(
        {b"tokenizer.ggml.tokens": texts(b"a"), b"tokenizer.ggml.scores": number(1)}
    ),
    "a key without a name": a_gguf({b"": number(1)}),
    "a list longer than any": a_gguf(
        {b"a": (9, struct.pack("<IQ", 0, 9_000_000) + bytes(9_000_000))}
    ),
    "more blocks than llama.cpp has room for": a_gguf({b"llama.block_count": number(513)}),
    "more blocks ahead than blocks": a_gguf({b"llama.nextn_predict_layers": number(2)}),
    "more experts used than there are": a_gguf({b"llama.expert_used_count": number(2)}),
    "experts that are never used": a_gguf({b"llama.expert_count": number(8)}),
    "more experts than llama.cpp has room for": a_gguf({b"llama.expert_count": number(1025)}),
    "experts in uneven groups": a_gguf(
        {
            b"llama.expert_count": number(8),
            b"llama.expert_used_count": number(2),
            b"llama.expert_group_count": number(3),
        }
    ),
    "groups of experts that are never used": a_gguf(
        {
            b"llama.expert_count": number(8),
            b"llama.expert_used_count": number(2),
            b"llama.expert_group_count": number(4),
        }
    ),
    "an unknown way to stretch the context": a_gguf(
        {b"llama.rope.scaling.type": (8, text(b"magic"))}
    ),
    "heads that cannot be shared": a_gguf(
        {b"llama.attention.head_count": number(8), b"llama.attention.head_count_kv": number(3)}
    ),
    "keys longer than values": a_gguf(
        {
            b"llama.attention.head_count": number(8),
            b"llama.embedding_length": number(64),
            b"llama.attention.key_length": number(16),
        }
    ),
    "states that do not divide its width": a_gguf(
        {b"llama.wkv.head_size": number(48), b"llama.embedding_length": number(64)}
    ),
    "a norm in halves": a_gguf(
        tensors=[(b"blk.0.w", (4, 4), 0, 0), (b"blk.0.attn_norm.weight", (4,), 1, 64)], data=80
    ),
    "a token that is there twice": a_gguf(
        {
            b"tokenizer.ggml.model": (8, text(b"llama")),
            b"tokenizer.ggml.tokens": texts(*BYTES, b"a", b"a"),
        }
    ),
    "tokens that are the same up to a zero byte": a_gguf(
        {
            b"tokenizer.ggml.model": (8, text(b"llama")),
            b"tokenizer.ggml.tokens": texts(*BYTES, b"ab", b"ab\0c"),
        }
    ),
    "an RWKV vocabulary that llama.cpp reads forever": a_gguf(
        {
            b"tokenizer.ggml.model": (8, text(b"rwkv")),
            b"tokenizer.ggml.tokens": texts(b"a", rb"\n\n"),
        }
    ),
}


@pytest.mark.parametrize("what", BAD_GGUF)
def test_a_malformed_gguf_is_refused_with_a_sentence(tmp_path, what):
    file = tmp_path / "bad.gguf"
    file.write_bytes(BAD_GGUF[what])
    begun = time.monotonic()
    with pytest.raises(Refused, match=r"^bad\.gguf cannot be loaded: .+\.") as refusal:
        check_gguf(file)
    assert time.monotonic() - begun < 1
    assert len(str(refusal.value)) < 300


def test_a_good_gguf_says_what_it_is(tmp_path):
    file = tmp_path / "good.gguf"
    keys = {
        b"tokenizer.ggml.model": (8, text(b"llama")),
        b"tokenizer.ggml.tokens": texts(*BYTES),
        b"llama.attention.head_count": (9, struct.pack("<IQ2I", 4, 2, 8, 8)),
    }
    file.write_bytes(a_gguf(keys))
    header = check_gguf(file)
    assert header.of_arch("block_count") == 1
    assert header.tensors == {"blk.0.w": ((4, 4), 0, 64)}
    assert check_gguf(DATA / "stories260K/stories260K.gguf").of_arch("context_length") == 2048
    with pytest.raises(Refused, match="cannot be read"):
        check_gguf(tmp_path / "missing.gguf")


def test_every_cut_of_a_header_is_refused(tmp_path):
    whole, file = a_gguf(), tmp_path / "cut.gguf"
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        with pytest.raises(Refused):
            check_gguf(file)


def test_a_large_vocabulary_is_checked_within_a_second(tmp_path):
    file = tmp_path / "large.gguf"
    keys = {b"tokenizer.ggml.tokens": texts(*(b"token %d" % n for n in range(400_000)))}
    file.write_bytes(a_gguf(keys))
    begun = time.process_time()  # not what others take of the processor meanwhile
    check_gguf(file)
    assert time.process_time() - begun < 1


def test_a_key_that_is_there_twice_is_named(tmp_path):
    file = tmp_path / "twice.gguf"
    one = text(b"llama.block_count") + struct.pack("<II", 4, 1)
    file.write_bytes(a_gguf(counts=(1, 3)).replace(one, one + one))
    with pytest.raises(Refused, match=r"the key llama\.block_count is there twice"):
        check_gguf(file)


def test_a_text_as_long_as_the_file_takes_no_second(tmp_path):
    """D38: a text of 1 GB, of which the file really has every byte."""
    file, key = tmp_path / "long.gguf", b"tokenizer.chat_template"
    head = a_gguf({key: (8, struct.pack("<Q", 1 << 30))}, data=0)
    with file.open("wb") as out:
        out.write(head)
        out.truncate(len(head) + (1 << 30))  # a hole: nothing is written
    begun = time.monotonic()
    with pytest.raises(Refused, match="cannot be loaded"):
        check_gguf(file)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("what", ["rwkv", "bytes of rwkv"])
def test_an_rwkv_vocabulary_with_every_byte_passes(tmp_path, what):
    file = tmp_path / "rwkv.gguf"
    tokens = [rb"\x%02x" % byte for byte in range(256)] if "bytes" in what else [b"a", rb"\n"]
    keys = {
        b"tokenizer.ggml.model": (8, text(b"rwkv")),
        b"tokenizer.ggml.tokens": texts(*tokens, rb"\n\n", b"aa"),
    }
    file.write_bytes(a_gguf(keys))
    check_gguf(file)


# --- models in several files ------------------------------------------------------------


def split(folder, count=3, **wrong):
    """A model in `count` files of one tensor each; `wrong` says what each claims instead."""
    for part in range(count):
        keys = {
            b"split.no": (2, struct.pack("<H", wrong.get("no", {}).get(part, part))),
            b"split.count": (2, struct.pack("<H", wrong.get("counts", {}).get(part, count))),
            b"split.tensors.count": (5, struct.pack("<i", wrong.get("tensors", count))),
        }
        names = wrong.get("names", {})
        tensors = [(names.get(part, b"blk.%d.w" % part), (4, 4), 0, 0)]
        if not part:
            keys[b"llama.block_count"] = number(count)
        file = folder / f"big-{part + 1:05}-of-{count:05}.gguf"
        file.write_bytes(a_gguf(keys, tensors))
    return folder / f"big-00001-of-{count:05}.gguf"


def test_all_parts_of_a_model_are_one(tmp_path):
    file = check_gguf(split(tmp_path))
    assert list(file.tensors) == ["blk.0.w", "blk.1.w", "blk.2.w"]
    assert file.size == sum(part.stat().st_size for part in tmp_path.iterdir())
    assert file.weights == 3 * 64


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"no": {1: 2}}, r"^big-00002-of-00003\.gguf belongs to another model"),
        ({"counts": {2: 4}}, r"^big-00003-of-00003\.gguf belongs to another model"),
        ({"names": {2: b"blk.0.w"}}, r"^big-00003-of-00003\.gguf repeats blk\.0\.w"),
        ({"tensors": 4}, "3 tensors together instead of 4"),
        ({"no": {0: 1}}, "was renamed"),
        ({"counts": {0: 65_535}}, "says that it is part 0 of 65535"),
    ],
)
def test_parts_that_are_not_of_one_model(tmp_path, wrong, words):
    with pytest.raises(Refused, match=words):
        check_gguf(split(tmp_path, **wrong))


def test_missing_and_broken_parts_are_named(tmp_path):
    first = split(tmp_path, 6)
    with pytest.raises(Refused, match=r"is part 3 of 6\. Load big-00001-of-00006\.gguf\.$"):
        check_gguf(tmp_path / "big-00003-of-00006.gguf")
    cut = tmp_path / "big-00004-of-00006.gguf"
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(Refused, match=r"^big-00004-of-00006\.gguf cannot be loaded: the tensor"):
        check_gguf(first)
    cut.unlink()
    with pytest.raises(Refused, match=r"1 of them is missing: big-00004-of-00006\.gguf\."):
        check_gguf(first)
    for part in (2, 3, 5):
        (tmp_path / f"big-{part:05}-of-00006.gguf").unlink()
    with pytest.raises(Refused, match=r"4 of them are missing: big-00002-.* and more\. Download"):
        check_gguf(first)
    moved = first.rename(tmp_path / "mine.gguf")
    with pytest.raises(Refused, match=r"must end in -00001-of-00006\.gguf"):
        check_gguf(moved)


# --- what is no model -------------------------------------------------------------------


def an_adapter(tensors=None, **keys):
    said = {"general.type": b"adapter", "adapter.type": b"lora", **keys}
    made = {
        key.encode(): (8, text(value)) if isinstance(value, bytes) else value
        for key, value in said.items()
    }
    made[b"llama.block_count"] = number(1)
    sound = [(b"blk.0.w.lora_a", (4, 2), 0, 0), (b"blk.0.w.lora_b", (2, 4), 0, 32)]
    return a_gguf(made, sound if tensors is None else tensors)


def test_files_that_are_no_model_say_what_they_are(tmp_path):
    file = tmp_path / "part.gguf"
    for made, words in [
        (an_adapter(), "is a LoRA adapter, no model. Load its model, then choose it there"),
        (a_gguf({b"general.architecture": (8, text(b"clip"))}), "choose this file as its mmproj"),
        (a_gguf({b"general.type": (8, text(b"mmproj"))}), "choose this file as its mmproj"),
        (a_gguf({b"general.type": (8, text(b"imatrix"))}), r"a part of one \(imatrix\)"),
    ]:
        file.write_bytes(made)
        with pytest.raises(Refused, match=words):
            check_gguf_model(file)
    file.write_bytes(a_gguf())
    assert check_gguf_model(file).of_arch("block_count") == 1


def test_an_adapter_fits_its_model(tmp_path):
    base, file = tmp_path / "base.gguf", tmp_path / "lora.gguf"
    base.write_bytes(a_gguf())
    file.write_bytes(an_adapter())
    assert len(check_gguf_adapter(file, check_gguf(base)).tensors) == 2
    flat = [(b"token_embd.weight", (4, 9), 0, 0), (b"blk.0.w", (4, 4), 0, 160)]
    base.write_bytes(a_gguf(tensors=flat, data=300))
    turned = [(b"token_embd.weight.lora_a", (2, 9), 0, 0),
              (b"token_embd.weight.lora_b", (2, 4), 0, 96)]  # fmt: skip
    file.write_bytes(an_adapter(turned) + bytes(128))
    check_gguf_adapter(file, check_gguf(base))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (a_gguf(), "is no LoRA adapter in GGUF form"),
        (an_adapter(**{"adapter.type": b"control"}), "is no LoRA adapter"),
        (an_adapter(**{"general.architecture": b"gemma"}), "of the kind gemma, and this one is ll"),
        (an_adapter(**{"adapter.lora.alpha": b"much"}), "its alpha is no number"),
        (
            an_adapter(**{"adapter.lora.alpha": (12, struct.pack("<d", 2))}),
            "its alpha is no number",
        ),
        (
            an_adapter([(b"blk.0.w.lora_a", (4, 2), 26, 0), (b"blk.0.w.lora_b", (2, 4), 26, 32)]),
            "whole or double numbers",
        ),
        (an_adapter([(b"blk.0.w.lora_a", (4, 2), 0, 0)]), r"half of blk\.0\.w is missing"),
        (an_adapter([(b"blk.0.w", (4, 2), 0, 0)]), "there is nothing in it"),
        (
            an_adapter([(b"blk.7.w.lora_a", (4, 2), 0, 0), (b"blk.7.w.lora_b", (2, 4), 0, 32)]),
            r"the model has no blk\.7\.w\. Choose another",
        ),
        (
            an_adapter([(b"blk.0.w.lora_a", (8, 1), 0, 0), (b"blk.0.w.lora_b", (1, 8), 0, 32)]),
            r"has the shape \(4, 4\) there, and factors \(8, 1\) and \(1, 8\) here",
        ),
        (
            an_adapter([(b"blk.0.w.lora_a", (4, 2), 0, 0), (b"blk.0.w.lora_b", (1, 4), 0, 32)]),
            "does not fit this model",
        ),
    ],
)
def test_a_foreign_adapter_is_refused(tmp_path, made, words):
    base, file = tmp_path / "base.gguf", tmp_path / "lora.gguf"
    base.write_bytes(a_gguf())
    file.write_bytes(made)
    with pytest.raises(Refused, match=words):
        check_gguf_adapter(file, check_gguf(base))
    with pytest.raises(Refused, match="cannot be read"):
        check_gguf_adapter(tmp_path / "missing.gguf", check_gguf(base))


def test_what_reads_images_is_told_from_models(tmp_path):
    file = tmp_path / "mmproj.gguf"
    file.write_bytes(a_gguf({b"general.architecture": (8, text(b"clip"))}))
    assert check_gguf_projector(file).tensors
    file.write_bytes(a_gguf({b"general.architecture": (8, text(b"clip"))}, tensors=[]))
    with pytest.raises(Refused, match="there is no tensor in it"):
        check_gguf_projector(file)
    with pytest.raises(Refused, match="is no mmproj file"):
        check_gguf_projector(STORIES)


ANOTHER = "Look for another GGUF file of the model."


@pytest.mark.parametrize(
    ("name", "helps"),
    [
        ("cut off", "Download it again."),
        ("not a GGUF", "Download it again."),
        ("a first version", ANOTHER),
        ("a version that is none", ANOTHER),
        ("a future version", "Update Spindle, or look for another GGUF file of the model."),
        ("a tokenizer without bytes", ANOTHER),
        ("blocks that are not there", ANOTHER),
    ],
)
def test_a_refusal_says_what_helps(tmp_path: Path, name: str, helps: str):
    path = tmp_path / "model.gguf"
    path.write_bytes(BAD_GGUF[name])
    with pytest.raises(Refused) as refusal:
        check_gguf(path)
    assert str(refusal.value).endswith(f". {helps}")
