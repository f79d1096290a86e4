"""Names that reach a path: B16 to B18 of attacks-and-faults.md."""

from pathlib import Path

import pytest

from kernel.names import UnsafeName, safe_name, safe_path

# ruff: noqa: E501, RUF001
HOSTILE = [
    "../x", "..\\x", "/etc/passwd", "C:\\x", "D:x", "\\x", "\\\\host\\share", "//host/share", ".", "..",
    "", "x" * 300, "é" * 101, "a\0b", "a\nb", "a\rb", "a\x1b[2Jb", "a\x7fb", "a\x85b",
    "%2e%2e%2f", "%252e%252e%252f", "%25252e%25252e%25252f", "%2E%2E", "a%2fb", "a%5cb", "a%00b",
    "%c0%ae%c0%ae%c0%af", "\udcc0\udcae", "CON", "con", "Con.txt", "nul.tar.gz", "COM1", "lpt9.log",
    "COM¹", "CONIN$", "aux .txt", "x.", "x ", " x", "\u00a0x", "x::$DATA", "x:y", "a∕b", "a⁄b", "a／b",
    "a＼b", "-x", "--help", ".x", ".ssh", "~", "~root", "a\u202eb", "a\u2066b", "a\u200bb", "a\ufeffb",
    "a\u2028b", "a*b", "a?b", 'a"b', "a<b", "a|b", "\ud800",
]  # fmt: skip
FINE = [
    "x", "Assistant", "Ärger im Büro", "日本語", "café.yaml", "model-Q4_K_M.gguf", "a b (2)", "100%", "50% off",
    "v1.2.3", "it's", "_x", "x-", "x~", "com10", "console", "auxiliary", "nullable.txt", "a%20b", "🧵 spindle",
    "👩\u200d💻", "می\u200cخواهم", "x" * 200, "a..b", "#1", "[x]", "{x}", "$HOME", "a&b;c",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeName) as caught:
        safe_name(name)
    assert str(caught.value).isprintable(), "the refusal itself carries nothing hostile"
    str(caught.value).encode()
    with pytest.raises(UnsafeName):
        safe_path(tmp_path, "fine", name)


def test_a_refusal_shows_the_letters_and_escapes_what_is_invisible() -> None:
    with pytest.raises(UnsafeName, match=r"“My \*best\* preset ‘ü’ 😀\\u202e\\x1b\[2J” cannot"):
        safe_name("My *best* preset ‘ü’ 😀\u202e\x1b[2J")


@pytest.mark.parametrize("name", FINE)
def test_people_may_name_things_as_they_like(name: str, tmp_path: Path) -> None:
    assert safe_name(name) == name
    path = safe_path(tmp_path, name)
    path.touch()
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_siblings_of_the_root_are_out_of_reach(tmp_path: Path) -> None:
    root, sibling = tmp_path / "data", tmp_path / "data-secret"
    root.mkdir()
    sibling.mkdir()
    (root / "link").symlink_to(sibling)
    with pytest.raises(UnsafeName):
        safe_path(root, "link")
    with pytest.raises(UnsafeName):
        safe_path(root, "link", "new file")


def test_links(tmp_path: Path) -> None:
    root, outside = tmp_path / "models", tmp_path / "elsewhere"
    root.mkdir()
    outside.mkdir()
    (root / "inside").mkdir()
    (root / "away").symlink_to(outside)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "near").symlink_to(root / "inside")
    (root / "itself").symlink_to(root / "itself")
    assert safe_path(root, "near", "x") == root / "near" / "x"
    assert safe_path(root, "away", "big.gguf", follow=True) == root / "away" / "big.gguf"
    for names in (["away"], ["away", "x"], ["dangling"], ["itself"]):
        with pytest.raises(UnsafeName):
            safe_path(root, *names)
    with pytest.raises(UnsafeName):
        safe_path(root, "..", follow=True)


def test_a_root_behind_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "real")
    assert safe_path(tmp_path / "data", "x") == tmp_path / "data" / "x"
