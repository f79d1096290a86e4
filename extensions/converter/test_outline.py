"""Hostile files: each is refused with a sentence, and nothing of it is run."""

import struct
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from extensions.converter.forms import look
from extensions.converter.outline import Program, Tensor, Unfit, read
from tests.torch_files import (
    archive,
    called,
    name,
    number,
    old,
    plain,
    running,
    table,
    tensor,
    text,
)

HOSTILE = Path(__file__).parents[2] / "tests" / "data" / "malformed"


@pytest.mark.parametrize("old_form", [False, True])
def test_a_file_of_weights(tmp_path: Path, old_form: bool):
    found = look(plain(tmp_path / "a.bin", old_form=old_form))
    assert {key: (each.shape, each.kind) for key, each in found.tensors.items()} == {
        "a": ((2, 3), "F32"),
        "b": ((4,), "F32"),
    }
    assert (found.old, found.within, found.left_out) == (old_form, "", ())


@pytest.mark.parametrize("within", ["state_dict", "model", "module", "model_state_dict"])
def test_weights_beside_other_things(tmp_path: Path, within: str):
    value = table({within: table({"a": tensor("0", (2,))}), "epoch": number(3)})
    found = look(archive(tmp_path / "a.pt", value, {"0": bytes(8)}))
    assert (found.within, [*found.tensors], found.left_out) == (within, ["a"], ("epoch",))


def test_a_state_dict_with_metadata_and_a_parameter(tmp_path: Path):
    parameter = called(
        *("torch._utils", "_rebuild_parameter"),
        *(tensor("0", (2,)), b"\x88", called("collections", "OrderedDict")),
    )
    value = called("collections", "OrderedDict") + b"(" + text("a") + parameter + b"u"
    value += table({"_metadata": called("collections", "OrderedDict")}) + b"b"
    assert [*look(archive(tmp_path / "a.bin", value, {"0": bytes(8)})).tensors] == ["a"]


def test_newer_kinds(tmp_path: Path):
    storage = b"(" + text("storage") + name("torch.storage", "UntypedStorage") + text("0")
    storage += text("cpu") + number(3) + b"tQ"
    ordered = called("collections", "OrderedDict")
    value = called(
        *("torch._utils", "_rebuild_tensor_v3"),
        *(storage, number(0), number(3) + b"\x85", number(1) + b"\x85", b"\x89", ordered),
        name("torch", "float8_e4m3fn"),
    )
    found = look(archive(tmp_path / "a.bin", table({"a": value}), {"0": bytes(3)}))
    assert found.tensors["a"].kind == "F8_E4M3"


# --- what would run ---------------------------------------------------------------------


def reduced(path: Path, canary: Path) -> Path:
    return archive(path, table({"a": running(canary)}), {})


def reduced_old(path: Path, canary: Path) -> Path:
    return old(path, running(canary), {})


def in_the_keys(path: Path, canary: Path) -> Path:
    """In the fifth pickle of the old form, when everything seems to be over."""
    data = plain(path, old_form=True).read_bytes()
    before, _, after = data.rpartition(b"\x80\x02](")
    path.write_bytes(before + b"\x80\x02](" + running(canary) + after)
    return path


def beside_weights(path: Path, canary: Path) -> Path:
    value = table({"a": tensor("0", (2,)), "b": running(canary)})
    return archive(path, value, {"0": bytes(8)})


def by_building(path: Path, canary: Path) -> Path:
    return archive(path, name("builtins", "object") + b")R" + table({"x": b"N"}) + b"b", {})


def by_an_instance(path: Path, canary: Path) -> Path:
    return archive(path, b"(" + text(str(canary)) + b"ios\nsystem\n", {})


def by_a_new_object(path: Path, canary: Path) -> Path:
    return archive(path, name("subprocess", "Popen") + b"(" + text("id") + b"t\x81", {})


def by_the_stack(path: Path, canary: Path) -> Path:
    value = text("posix") + text("system") + b"\x93(" + text(f"touch {canary}") + b"tR"
    return archive(path, value, {})


def by_a_registered_number(path: Path, canary: Path) -> Path:
    return archive(path, b"\x82\x01", {})


def as_a_dictionary(path: Path, canary: Path) -> Path:
    """PyTorch would call this one, too; it is harmless, and no file of weights has it."""
    return archive(path, called("builtins", "getattr", text("a"), text("b")), {})


def in_pytorch(path: Path, canary: Path) -> Path:
    return archive(path, called("torch", "load", text(str(canary))), {})


def in_pytorch_below(path: Path, canary: Path) -> Path:
    return archive(path, called("torch.hub", "load", text(str(canary))), {})


def a_whole_model(path: Path, canary: Path) -> Path:
    return archive(path, name("transformers.models.llama", "LlamaForCausalLM") + b")\x81", {})


def with_a_line_that_repaints(path: Path, canary: Path) -> Path:
    return archive(path, name("\x1b[2J<script>", "system") + b")R", {})


RUN = [
    reduced, reduced_old, in_the_keys, beside_weights, by_building, by_an_instance,
    by_a_new_object, by_the_stack, by_a_registered_number, as_a_dictionary, in_pytorch,
    in_pytorch_below, a_whole_model, with_a_line_that_repaints,
]  # fmt: skip


@pytest.mark.parametrize("make", RUN)
def test_what_would_run_is_named_and_not_run(tmp_path: Path, make: Callable[[Path, Path], Path]):
    canary = tmp_path / "canary"
    file = make(tmp_path / "a.bin", canary)
    with pytest.raises(Unfit) as refused:
        look(file)
    assert not canary.exists()
    said = str(refused.value)
    assert said.isprintable()
    assert said.isascii()
    if b"system\n" in file.read_bytes() and make is not by_an_instance:
        assert isinstance(refused.value, Program)
        assert "system" in said


def test_the_pickle_that_leaves_a_file(tmp_path: Path):
    left = Path("/tmp/PICKLE_WAS_EXECUTED")
    before = left.exists()
    data = (HOSTILE / "exec-touch.pkl").read_bytes()
    for file, content in (("a.bin", data), ("b.bin", data.replace(b"\x80\x04", b"\x80\x02"))):
        (tmp_path / file).write_bytes(content)
        with pytest.raises(Unfit, match="a pickle that PyTorch did not make"):
            look(tmp_path / file)
    with pytest.raises(Unfit, match="instruction that no file of weights needs"):
        look(archive(tmp_path / "c.bin", data[2:-1], {}))
    assert left.exists() == before


# --- what claims too much ---------------------------------------------------------------

CLAIMS = {
    "a tensor without end": tensor("0", (2**40,), count=2, strides=(0,)),
    "beyond its storage": tensor("0", (2,), count=2, offset=1),
    "far beyond": tensor("0", (2,), count=2, offset=2**45),
    "before it": tensor("0", (2,), count=2, offset=-1),
    "backwards": tensor("0", (2,), count=2, offset=1, strides=(-1,)),
    "negative": tensor("0", (-2, -1), count=2),
    "huge numbers": tensor("0", (2**60, 2**60), count=2, strides=(1, 1)),
    "many dimensions": tensor("0", (1,) * 17, count=2),
    "no dimensions for its strides": tensor("0", (1,), count=2, strides=()),
    "a storage larger than stored": tensor("0", (200,)),
    "a storage smaller than stored": tensor("0", (1,)),
    "a storage that is not there": tensor("1", (2,)),
    "no number": tensor("0", (2,)).replace(number(0) + b"(", b"\x88(", 1),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_tensor_that_claims_what_is_not_there(tmp_path: Path, claim: str):
    with pytest.raises(Unfit, match=r"larger than what is stored|shape|missing|no sense"):
        look(archive(tmp_path / "a.bin", table({"a": CLAIMS[claim]}), {"0": bytes(8)}))


def test_a_count_in_the_old_form_that_is_not_so(tmp_path: Path):
    value = table({"a": tensor("7", (2,), more=b"N")})
    for count in (3, 2**60, -1):
        with pytest.raises(Unfit):
            look(old(tmp_path / "a.bin", value, {"7": (count, bytes(8))}))


def deep(count: int) -> bytes:
    return b"]" * count + b"a" * (count - 1)


def deep_by_memory(count: int) -> bytes:
    """A list in a list in a list, with nothing waiting on the stack."""
    steps = b"]q\x00"
    for n in range(count):
        steps += b"]q\x01h\x00ah\x01q\x00" if n % 2 else b"]q\x02h\x00ah\x02q\x00"
    return steps


LARGE = {
    "nested": (deep(1000), "nested"),
    "nested out of sight": (table({"a": deep_by_memory(1000)}), "nested|no sense"),
    "itself": (b"]q\x00h\x00a", "no table|nested"),
    "waiting": (b"N" * 30_000, "more than any"),
    "marks": (b"(" * 30_000, "more than any"),
    "nothing": (b"", "no sense"),
    "too little": (b"a", "no sense"),
    "not remembered": (b"h\x09", "no sense"),
    "a long number": (b"\x8b" + struct.pack("<i", 2**31 - 1), "no sense|instruction"),
    "a long text": (b"X" + struct.pack("<I", 2**32 - 1) + b"a", "no sense"),
    "a long name": (table({"a" * 600: tensor("0", (2,))}), "more than any"),
    "a name of safetensors": (table({"__metadata__": tensor("0", (2,))}), "keeps for itself"),
    "tables in tables": (table({"a": tensor("0", (2,)), "b": table({})}), "tables within"),
    "no weights": (table({"a": number(3)}), "no table of weights"),
    "a list": (b"]", "no table of weights"),
    "a storage that is called": (called("torch", "FloatStorage", number(2**40)), "no sense"),
    "quantized": (called("torch._utils", "_rebuild_qtensor"), "quantized or sparse"),
    "wide complex numbers": (name("torch", "ComplexDoubleStorage"), "of a kind"),
    "a view of a view": (tensor("0", (2,), more=text("view")), "no longer used"),
}


@pytest.mark.parametrize("what", LARGE)
def test_what_is_no_table_of_weights(tmp_path: Path, what: str):
    value, words = LARGE[what]
    began = time.monotonic()
    with pytest.raises(Unfit, match=words):
        look(archive(tmp_path / "a.bin", value, {"0": bytes(8)}))
    assert time.monotonic() - began < 2


def test_instructions_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("extensions.converter.outline.MOST_INSTRUCTIONS", 1000)
    with pytest.raises(Unfit, match="more than any"):
        read(BytesIO(b"\x80\x02]" + b"Na" * 600 + b"."))
    assert read(BytesIO(b"\x80\x02]" + b"Na" * 400 + b".")) == [None] * 400


# --- archives ---------------------------------------------------------------------------

VALUE = table({"a": tensor("0", (2,))})
STORED = {"0": bytes(8)}
FOREIGN = {
    "another program": {"archive/code/__torch__.py": b"import os"},
    "constants": {"archive/constants.pkl": b"."},
    "a folder beside": {"other/data/1": b"x"},
    "upwards": {"archive/data/../../../x": b"x"},
    "absolute": {"/etc/x": b"x"},
    "a wheel": {"archive/data/evil.pkl": b"x"},
    "of Windows": {"archive/data\\1": b"x"},
    "a letter": {"archive/data/1x": b"x"},
    "another digit": {"archive/data/\u0661": b"x"},
    "a large note": {"archive/.format_version": bytes(1000)},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_members_of_an_archive(tmp_path: Path, what: str):
    with pytest.raises(Unfit, match=r"no part of weights|TorchScript"):
        look(archive(tmp_path / "a.bin", VALUE, STORED, FOREIGN[what]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("root", ["..", ".", "a\\b", "a\x1bb"])
def test_a_folder_that_leads_elsewhere(tmp_path: Path, root: str):
    with pytest.raises(Unfit, match=r"leads elsewhere"):
        look(archive(tmp_path / "a.bin", VALUE, STORED, root=root))


def test_a_zip_bomb(tmp_path: Path):
    value = table({"a": tensor("0", (5_000_000,))})
    file = archive(
        tmp_path / "a.bin", value, {"0": bytes(20_000_000)}, compression=zipfile.ZIP_DEFLATED
    )
    assert file.stat().st_size < 200_000
    with pytest.raises(Unfit, match="compressed"):
        look(file)


def test_members_that_share_their_bytes(tmp_path: Path):
    """Of a hundred members, each is the same bytes: a bomb that is not compressed."""
    file = archive(tmp_path / "a.bin", VALUE, {"0": bytes(8), "1": bytes(8)})
    with zipfile.ZipFile(file) as opened:
        first, second = (opened.getinfo(f"archive/data/{n}").header_offset for n in (0, 1))
    data = bytearray(file.read_bytes())
    entry = data.rindex(b"archive/data/1") - 46
    assert struct.unpack_from("<I", data, entry + 42) == (second,)
    struct.pack_into("<I", data, entry + 42, first)
    file.write_bytes(data)
    with pytest.raises(Unfit, match="overlap"):
        look(file)


def test_a_member_twice(tmp_path: Path):
    file = archive(tmp_path / "a.bin", VALUE, STORED, {"archive/data/1": b"xxxxxxxx"})
    file.write_bytes(file.read_bytes().replace(b"archive/data/1", b"archive/data/0"))
    with pytest.raises(Unfit, match="one name"):
        look(file)


def test_links_and_locks(tmp_path: Path):
    for external, flag in ((0o120777 << 16, 0), (0, 1)):
        file = archive(tmp_path / "a.bin", VALUE, STORED)
        data = bytearray(file.read_bytes())
        entry = data.rindex(b"archive/data/0") - 46
        struct.pack_into("<H", data, entry + 8, flag)
        struct.pack_into("<I", data, entry + 38, external)
        file.write_bytes(data)
        with pytest.raises(Unfit, match="locked members or links"):
            look(file)


def test_other_files(tmp_path: Path):
    for start, words in (
        (b"GGUF" + bytes(600), "no file of PyTorch"),
        (b"", "no file of PyTorch"),
        (b"root:x:0:0", "no file of PyTorch"),
        (b"sys_info".ljust(257, b"\0") + b"ustar\x0000" + bytes(400), "before 2017"),
        (b"PK\x03\x04" + bytes(600), "cut off or damaged"),
        (plain(tmp_path / "x").read_bytes()[:-40], "cut off or damaged"),
        (plain(tmp_path / "x", old_form=True).read_bytes()[:-4], "cut off"),
    ):
        (tmp_path / "a.bin").write_bytes(start)
        with pytest.raises(Unfit, match=words):
            look(tmp_path / "a.bin")


def test_every_cut_and_many_wrong_bytes_are_a_sentence(tmp_path: Path):
    """Nothing but Unfit, or the same weights where the byte did not matter."""
    for old_form in (False, True):
        whole = plain(tmp_path / "whole", old_form=old_form).read_bytes()
        file = tmp_path / "a.bin"
        spoiled = [whole[:n] for n in range(0, len(whole), 7)]
        spoiled += [
            whole[:n] + bytes([whole[n] ^ 0x41]) + whole[n + 1 :] for n in range(0, len(whole), 2)
        ]
        for data in spoiled:
            file.write_bytes(data)
            try:
                found = look(file)
            except Unfit:
                continue
            assert all(isinstance(each, Tensor) for each in found.tensors.values())
