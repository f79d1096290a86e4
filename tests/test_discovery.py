"""Where extensions are found: packages, what was installed, folders; nothing is imported."""

import sys
from pathlib import Path

import pytest

from kernel.discovery import Discovery
from kernel.manifest import Manifest
from kernel.records import Status
from kernel.testing import running

MANIFEST = 'id = "{id}"\nname = "{name}"\nversion = "1"\nsummary = "Tests."\napi = 1\n'


def make(root: Path, id: str, name: str = "Loom") -> Path:
    folder = root / id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text("async def setup(ext): pass")
    (folder / "extension.toml").write_text(MANIFEST.format(id=id, name=name))
    return folder


PACKAGE = """Metadata-Version: 2.1
Name: looms
Version: 1
"""


def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str = "looms.loom") -> Path:
    """A Python package that brings an extension, on the path but never imported."""
    (tmp_path / "site" / "looms-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "looms-1.dist-info" / "METADATA").write_text(PACKAGE)
    points = f"[spindle.extensions]\nloom = {entry}\n"
    (tmp_path / "site" / "looms-1.dist-info" / "entry_points.txt").write_text(points)
    folder = make(tmp_path / "site" / "looms", "loom", "A packaged loom")
    (folder.parent / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


async def test_a_python_package_brings_one_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = packaged(tmp_path, monkeypatch)
    async with running("loom") as app:
        assert app.kernel.records["loom"].folder == folder
        assert app.kernel.records["loom"].is_(Status.RUNNING)
        assert "looms" not in sys.modules
    make(tmp_path / "own", "loom", "The user's")
    found = dict(Discovery([tmp_path / "own"], tmp_path / "installed").folders())
    assert found["loom"] == tmp_path / "own" / "loom"


@pytest.mark.parametrize("entry", ["nowhere.loom", "looms.missing", "looms"])
def test_a_package_whose_entry_leads_nowhere_is_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
):
    packaged(tmp_path, monkeypatch, entry)
    assert list(Discovery([], tmp_path / "installed").folders()) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"tree": 3}', '{"tree": "gone"}', '{"tree": "../../x"}']
)
def test_an_index_that_says_nothing_useful_is_passed_by(tmp_path: Path, text: str):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "loom.json").write_text(text)
    make(tmp_path / "x", "loom")
    make(tmp_path.parent / "x", "loom")
    assert list(Discovery([], tmp_path / "installed").folders()) == []


def test_a_strangers_lock_does_not_stand_for_the_built_in_one(tmp_path: Path):
    for root in ("b_shipped", "a_own"):
        (make(tmp_path / root, "loom" if root == "a_own" else "other") / "x.lock").touch()
    found = Discovery([tmp_path / "b_shipped", tmp_path / "a_own"], tmp_path / "none").trusted()
    assert [folder.name for folder in found] == ["other", "loom"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("name = 5", "name: it must be text in quotes, not a whole number"),
        ("", "the key name is missing"),
        ('name = "Loom"\nnmae = "Loom"', "there is no key nmae"),
        ('name = "Loom"\npaths = ["x"]', r"paths\[0\]: it has signs that cannot stand there"),
        ('name = "Loom"\n[worker]\nenvironment = "wheels"', "worker.environment: it has signs"),
        (
            'name = "Loom"\n[worker]\nenvironment = "loom"\n[worker.variants."x/../../state"]',
            "it has signs that cannot stand there",
        ),
    ],
)
def test_a_bad_manifest_is_told_in_words(tmp_path: Path, line: str, sentence: str):
    folder = make(tmp_path, "loom")
    text = MANIFEST.replace('name = "{name}"', line.replace("{", "{{")).format(id="loom")
    (folder / "extension.toml").write_text(text)
    with pytest.raises(ValueError, match=f"^extension.toml cannot be used: {sentence}"):
        Manifest.read(folder)


async def test_off_and_on_reads_a_manifest_that_changed_while_it_ran(tmp_path: Path):
    folder = make(tmp_path / "own", "loom")
    async with running("loom", folders=[tmp_path / "own"]) as app:
        file = folder / "extension.toml"
        file.write_text(MANIFEST.format(id="loom", name="A better loom"))
        assert app.kernel.name("loom") == "Loom"
        await app.kernel.restart("loom")
        assert app.kernel.name("loom") == "A better loom"
        file.write_text("nonsense")
        assert not await app.kernel.restart("loom")
        record = app.kernel.records["loom"]
        assert record.is_(Status.INCOMPATIBLE)
        assert "cannot be used" in record.reason
        make(tmp_path / "own", "loom", "Mended")
        assert await app.kernel.start("loom")
        assert app.kernel.name("loom") == "Mended"
