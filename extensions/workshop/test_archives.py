"""B20 and F52 of attacks-and-faults.md: what archives and folders may hold."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from extensions.workshop import archives, trees
from kernel.api import Refused

MANIFEST = b'id = "loom"\nname = "Loom"\nversion = "1"\nsummary = "Weaves."\napi = 1\n'
OUTSIDE = ["../x", "/etc/x", "a/../../x", "..\\x", "C:\\x", "C:x", "\\\\host\\x", "a//x", "con/x"]


def zipped(file: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file


def tarred(file: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """Members are name, type and content (or where a link leads)."""
    with tarfile.open(file, "w:gz") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
            else:
                info.linkname = content.decode()
            archive.addfile(info, io.BytesIO(content))
    return file


def below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def taken(file: Path, into: Path) -> None:
    archives.unpack(file, into)
    trees.settle(into)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_b20_a_name_that_leads_outside_is_refused(tmp_path: Path, name: str, kind: str):
    file = tmp_path / f"in.{kind}"
    if kind == "zip":
        zipped(file, ("extension.toml", MANIFEST), (name, b"x"))
    else:
        tarred(file, (name, tarfile.REGTYPE, b"x"))
    into = tmp_path / "work" / "tree"
    with pytest.raises(Refused, match=r"would land elsewhere|leads nowhere"):
        archives.unpack(file, into)
    assert below(tmp_path) <= {f"in.{kind}", "work/tree/extension.toml"}


def test_b20_links_and_devices_in_a_zip_are_refused(tmp_path: Path):
    for mode in (0o120777, 0o020666, 0o060666, 0o010666, 0o140666):
        info = zipfile.ZipInfo("link")
        info.external_attr = mode << 16
        file = zipped(tmp_path / f"{mode}.zip", (info, b"/etc/passwd"))
        with pytest.raises(Refused, match="link or a device"):
            archives.unpack(file, tmp_path / f"{mode}")
        assert not below(tmp_path / f"{mode}")


def test_b20_links_and_devices_in_a_tar_are_refused(tmp_path: Path):
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    for number, kind in enumerate((*kinds, tarfile.GNUTYPE_SPARSE)):
        file = tarred(tmp_path / f"{number}.tar.gz", ("link", kind, b"/etc/passwd"))
        with pytest.raises(Refused, match=r"link or a device|damaged"):
            archives.unpack(file, tmp_path / f"{number}")
        assert not below(tmp_path / f"{number}")


@pytest.mark.parametrize("twin", ["a.py", "A.py", "./a.py"])
def test_b20_two_files_of_one_name_are_refused(tmp_path: Path, twin: str):
    members = [("a.py", tarfile.REGTYPE, b"1"), (twin, tarfile.REGTYPE, b"2")]
    with pytest.raises(Refused, match="two files"):
        archives.unpack(tarred(tmp_path / "in.tar.gz", *members), tmp_path / "tree")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_b20_two_members_of_one_name_in_a_zip_are_refused(tmp_path: Path):
    file = zipped(tmp_path / "in.zip", ("a.py", b"1"), ("a.py", b"2"))
    with pytest.raises(Refused, match="two files"):
        archives.unpack(file, tmp_path / "tree")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_b20_a_bomb_is_stopped(tmp_path: Path, kind: str):
    """200 MB of zeros in 200 KB; and what was written is bounded."""
    file = tmp_path / f"in.{kind}"
    zeros = bytes(200 * trees.MB)
    if kind == "zip":
        zipped(file, ("zeros", zeros))
        data = bytearray(file.read_bytes())  # and it lies about what it unpacks to
        at = data.rfind(b"PK\x01\x02")
        data[at + 24 : at + 28] = struct.pack("<I", 10)
        file.write_bytes(data)
    else:
        with gzip.open(file, "wb", compresslevel=1) as out:
            info = tarfile.TarInfo("zeros")
            info.size = len(zeros)
            out.write(info.tobuf() + zeros)
    assert file.stat().st_size < 2 * trees.MB
    with pytest.raises(Refused, match=r"more than|damaged"):
        archives.unpack(file, tmp_path / "tree")
    assert sum(path.stat().st_size for path in (tmp_path / "tree").rglob("*")) <= trees.MOST_BYTES


def test_b20_a_zip_that_says_it_holds_100_gb_is_refused_before_a_byte(tmp_path: Path):
    file = zipped(tmp_path / "in.zip", ("large", b"x"), *((f"{n}", b"x") for n in range(30)))
    data = bytearray(file.read_bytes())
    at = 0
    while (at := data.find(b"PK\x01\x02", at + 1)) > 0:
        data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFF00)
    file.write_bytes(data)
    with pytest.raises(Refused, match="more than any extension needs"):
        archives.unpack(file, tmp_path / "tree")
    assert not below(tmp_path / "tree")


@pytest.mark.parametrize("kind", ["zip", "zip64", "tar"])
def test_b20_a_million_entries_are_refused_early(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    file, many = tmp_path / "in", 1_000_000 if kind == "zip" else 20_000
    if kind == "tar":
        with gzip.open(file, "wb", compresslevel=1) as out:
            for number in range(many):
                out.write(tarfile.TarInfo(f"{number}").tobuf())
    else:
        entry = b"PK\x01\x02" + bytes(42)
        size = len(entry) * many
        end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0)
        if kind == "zip64":
            locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, size, 1)
            end = bytes(56) + locator + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, 9, 0, 0)
        file.write_bytes(entry * many + end)
        monkeypatch.setattr(zipfile, "ZipFile", None)  # it would read the list of all
    with pytest.raises(Refused, match=r"5,000 files"):
        archives.unpack(file, tmp_path / "tree")


@pytest.mark.parametrize(
    "data", [b"", b"PK\x05\x06", b"\x1f\x8bnonsense", b"<!doctype html>" * 99, bytes(2000)]
)
def test_b20_what_is_no_archive_is_told_in_a_sentence(tmp_path: Path, data: bytes):
    (tmp_path / "in.zip").write_bytes(data)
    with pytest.raises(Refused):
        taken(tmp_path / "in.zip", tmp_path / "tree")


def test_b20_every_cut_of_an_archive_is_refused_or_whole(tmp_path: Path):
    file = zipped(tmp_path / "in.zip", ("loom/extension.toml", MANIFEST), ("loom/a.py", b"1" * 50))
    whole = file.read_bytes()
    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        with pytest.raises(Refused):
            taken(file, tmp_path / f"{end}")


@pytest.mark.parametrize("top", ["", "loom/", "loom-main/", "a/"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_extension_is_found_in_its_archive(tmp_path: Path, top: str, kind: str):
    names = ["extension.toml", "__init__.py", ".github/x.yml", "__pycache__/a.pyc", "sub/a.py"]
    contents = [MANIFEST, b"1", b"2", b"3", b"4"]
    if kind == "zip":
        pairs = [(top + n, c) for n, c in zip(names, contents, strict=True)]
        file = zipped(tmp_path / "in.zip", *pairs)
    else:
        three = [(top + n, tarfile.REGTYPE, c) for n, c in zip(names, contents, strict=True)]
        file = tarred(tmp_path / "in.tgz", *three)
    archives.unpack(file, tmp_path / "tree")
    manifest = trees.settle(tmp_path / "tree")
    assert manifest.id == "loom"
    assert below(tmp_path / "tree") == {
        "loom/extension.toml", "loom/__init__.py", "loom/sub/a.py",
    }, "nothing hidden, and no compiled code that nobody could read"  # fmt: skip


def settled(tmp_path: Path, id: str, more: str = "") -> None:
    toml = MANIFEST.decode().replace('"loom"', id) + more
    archives.unpack(zipped(tmp_path / "in.zip", ("extension.toml", toml.encode())), tmp_path / "t")
    trees.settle(tmp_path / "t")


@pytest.mark.parametrize(
    "id", ['"../x"', '"Loom"', '"SETTINGS"', '"a/b"', '"a.b"', '""', '"x"', "3", '"\u017fettings"']
)
def test_f52_an_id_that_is_none_is_refused(tmp_path: Path, id: str):
    with pytest.raises(Refused, match="small letters"):
        settled(tmp_path, id)


@pytest.mark.parametrize("id", ["kernel", "static", "ws", "login", "logout", "ext"])
def test_f52_the_kernels_own_names_are_refused(tmp_path: Path, id: str):
    with pytest.raises(Refused, match="server's own"):
        settled(tmp_path, f'"{id}"')


@pytest.mark.parametrize("path", ["/login", "/ws", "/static", "/static/app.css", "/ext/settings"])
def test_f55_the_kernels_own_addresses_are_refused(tmp_path: Path, path: str):
    with pytest.raises(Refused, match="server's own"):
        settled(tmp_path, '"loom"', f'paths = ["{path}"]\n')


def hostile(folder: Path) -> list[tuple[str, Callable[[], object]]]:
    return [
        ("link", lambda: (folder / "x").symlink_to("/etc/passwd")),
        ("folder", lambda: (folder / "x").symlink_to("/etc")),
        ("fifo", lambda: os.mkfifo(folder / "x")),
    ]


@pytest.mark.parametrize("number", range(3))
def test_b20_links_and_devices_in_a_folder_are_refused(tmp_path: Path, number: int):
    folder = tmp_path / "loom"
    folder.mkdir()
    (folder / "extension.toml").write_bytes(MANIFEST)
    hostile(folder)[number][1]()
    with pytest.raises(Refused, match="link or a device"):
        trees.copy(folder, tmp_path / "tree")


def test_a_digest_is_of_names_and_contents_and_of_nothing_that_running_leaves(tmp_path: Path):
    folder = tmp_path / "loom"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"12")
    seen = {trees.digest(folder)}
    for change in (
        lambda: (folder / "a").write_bytes(b"1"),
        lambda: (folder / "b").write_bytes(b"2"),
        lambda: (folder / "b").rename(folder / "sub" / "b"),
    ):
        change()
        seen.add(trees.digest(folder))
    assert len(seen) == 4
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert trees.digest(folder) in seen
