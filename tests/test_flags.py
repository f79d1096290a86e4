"""The command line and CMD_FLAGS.txt; A14 of attacks-and-faults.md."""

import re
import sys
from pathlib import Path

import pytest

from kernel import __version__
from kernel.flags import Flags, parse
from kernel.server import FOLDERS, ROOT


def refusal(capsys: pytest.CaptureFixture[str], root: Path, *argv: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(argv, root, [root / "extensions"])
    assert caught.value.code == 2
    return capsys.readouterr().err.strip()


def test_defaults(tmp_path: Path) -> None:
    assert parse([], tmp_path) == parse(["serve"], tmp_path) == Flags()


def test_every_flag(tmp_path: Path) -> None:
    secret = tmp_path / "password.txt"
    secret.write_text("hunter2\nsecond line\n")
    argv = (
        f"--listen 10.0.0.1 --port 80 --settings s.yaml --data-dir d --environments-dir e --model m"
        f" --loader l --extensions a b --strict --password-file {secret} "
        "--tls-cert c --tls-key k --allowed-host x y --no-browser --verbose"
    )
    assert parse(argv.split(), tmp_path) == Flags(
        listen="10.0.0.1", port=80, settings=Path("s.yaml"), data_dir=Path("d"),
        environments_dir=Path("e"), model="m", loader="l", only=("a", "b"), strict=True,
        password="hunter2", tls_cert=Path("c"), tls_key=Path("k"),
        allowed_host=("x", "y"), no_browser=True, verbose=True,
    )  # fmt: skip


HELP = {
    "reaching it": (
        "--listen --port --password --password-file --allowed-host --tls-cert --tls-key "
        "--allow-remote-install --insecure-no-auth --no-browser"
    ),
    "the model": "--model --loader",
    "files": (
        "--settings --data-dir --model-dir --lora-dir --character-dir --environments-dir --verbose"
    ),
    "extensions": "--extensions --without --safe-mode --strict",
}


def test_help_lists_every_flag_in_its_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], tmp_path)
    assert not caught.value.code
    _, _, groups = capsys.readouterr().out.partition("\nreaching it:\n")
    parts = re.split(r"^(\S.*):\n", f"reaching it:\n{groups}", flags=re.MULTILINE)[1:]
    told = {
        name: " ".join(re.findall(r"^  (--\S+)", part, re.MULTILINE))
        for name, part in zip(parts[::2], parts[1::2], strict=True)
    }
    assert {name: told.pop(name) for name in HELP} == HELP
    assert not any(told.values()), "only the commands are left"


def test_the_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--version"], tmp_path)
    assert not caught.value.code
    assert capsys.readouterr().out == f"Spindle {__version__}\n"


def test_listen_alone_means_everywhere(tmp_path: Path) -> None:
    assert parse(["--listen", "--password", "x"], tmp_path).listen == "0.0.0.0"
    assert parse(["--listen", "--insecure-no-auth"], tmp_path).insecure_no_auth


def test_safe_mode(tmp_path: Path) -> None:
    assert parse(["--safe-mode", "--extensions", "a"], tmp_path).only == ()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--listen", "needs --password"),
        ("--listen 192.168.0.2", "--insecure-no-auth"),
        ("--listen --password a --insecure-no-auth", "exclude"),
        ("--password a --password-file b", "exclude"),
        ("--password \udcff", "are no text"),
        ("--password-file nowhere.txt", "cannot be read"),
        ("--tls-cert a", "belong together"),
        ("--port 70000", "up to 65535"),
        ("--port -1", "up to 65535"),
        ("--lisen", "There is no flag --lisen. Did you mean --listen?"),
        ("--data-folder=x", "There is no flag --data-folder. Did you mean --data-dir?"),
        ("--xyzzy", "See --help."),
        ("--setup", "--setup-only?"),
        ("--verb", "Did you mean --verbose?"),
        ("stray", "There is no command stray."),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: str, words: str
) -> None:
    said = refusal(capsys, tmp_path, *argv.split())
    assert words in said
    assert said[0].isupper() or said.startswith("--")
    assert "\n" not in said


def test_a_file_of_flags_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "CMD_FLAGS.txt").write_text("--password 'x")
    said = "CMD_FLAGS.txt cannot be read (No closing quotation). Correct it."
    assert refusal(capsys, tmp_path) == said


def test_a_password_file_of_an_editor_that_marks_its_text(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("secret\n", "utf-8-sig")
    assert parse(["--listen", "--password-file", f"{tmp_path}/p"], tmp_path).password == "secret"


def test_an_empty_password_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p").write_text("\nx")
    assert "is empty" in refusal(capsys, tmp_path, "--listen", "--password-file", f"{tmp_path}/p")


COMMANDS = """
[[commands]]
name = "weave"
help = "Weave a cloth; 100%"
code = "loom.py:weave"
arguments = [{name = "threads", many = true, help = "of wool"}]
flags = [{name = "dry-run", help = "only say it"}, {name = "pattern", type = "str", help = "which"}]
"""


def test_commands_of_extensions_are_read_without_importing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "CMD_FLAGS.txt").write_text("--listen --password x")
    folder = tmp_path / "extensions" / "loom"
    folder.mkdir(parents=True)
    (folder / "extension.toml").write_text(COMMANDS)
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    flags = parse(
        ["weave", "red", "blue", "--dry-run", "--data-dir", "d"], tmp_path, [folder.parent]
    )
    assert (flags.owner, flags.code, flags.data_dir) == ("loom", "loom.py:weave", Path("d"))
    assert flags.arguments == {"threads": ["red", "blue"], "dry_run": True}
    assert not flags.listen, "CMD_FLAGS.txt is for the server"
    assert "required" in refusal(capsys, tmp_path, "weave")
    assert "There is no flag --prot." in refusal(capsys, tmp_path, "weave", "red", "--prot")
    late = refusal(capsys, tmp_path, "--verbose", "weave", "red")
    assert late == "A command comes first: python server.py weave"
    assert "Did you mean weave?" in refusal(capsys, tmp_path, "waeve")
    with pytest.raises(SystemExit):
        parse(["--help"], tmp_path, [folder.parent])
    shown = capsys.readouterr().out
    assert "as in python server.py NAME --help" in shown
    assert "weave       Weave a cloth; 100%" in shown
    with pytest.raises(SystemExit):
        parse(["--help"], ROOT, FOLDERS)
    assert re.search(r"^  build-llama +build ", capsys.readouterr().out, re.MULTILINE)
    with pytest.raises(SystemExit):
        parse(["weave", "--help"], tmp_path, [folder.parent])
    assert capsys.readouterr().out.startswith("usage: python server.py weave")


@pytest.mark.parametrize("where", ["extensions/loom", "installed/loom-1/loom"])
def test_an_extension_of_the_user_brings_commands_too(tmp_path: Path, where: str) -> None:
    data = tmp_path / "elsewhere"
    (data / where).mkdir(parents=True)
    (data / where / "extension.toml").write_text(COMMANDS)
    (data / "installed").mkdir(exist_ok=True)
    (data / "installed" / "loom.json").write_text('{"tree": "loom-1"}')
    assert parse(["weave", "red", "--data-dir", str(data)], tmp_path).owner == "loom"
    (tmp_path / "CMD_FLAGS.txt").write_text(
        "--listen --password x --data-dir elsewhere --model guide --model-dir m"
    )
    flags = parse(["weave", "red", "--model-dir", "n"], tmp_path)
    assert (flags.owner, flags.data_dir, flags.model_dir) == ("loom", data, Path("n"))
    assert not flags.listen
    assert not flags.model


def test_cmd_flags_come_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "CMD_FLAGS.txt").write_text(
        "\ufeff# --port 1\n  # indented --port 2\n--port 7000 \\\n--model 'a model'\n"
        "--extensions a b\n--listen --password x\n"
    )
    assert parse(["--port", "9000", "--extensions", "c"], tmp_path) == Flags(
        listen="0.0.0.0", port=9000, model="a model", only=("c",), password="x"
    )
    assert "stray" in refusal(capsys, tmp_path, "stray"), "not taken for what the file left open"
    (tmp_path / "CMD_FLAGS.txt").write_text("--data_dir=a_folder --model a_model")
    assert parse([], tmp_path) == Flags(data_dir=tmp_path / "a_folder", model="a_model")
    assert parse(["--model_dir", "a_b"], tmp_path).model_dir == Path("a_b"), "as older programs"
    (tmp_path / "here.txt").write_text("secret")
    (tmp_path / "CMD_FLAGS.txt").write_text("--password-file here.txt --settings ~/s --listen")
    found = parse(["--data-dir=~/d", "--model-dir", "m"], tmp_path)
    assert (found.settings, found.data_dir) == (Path.home() / "s", Path.home() / "d")
    assert (found.model_dir, found.password) == (Path("m"), "secret"), "what is typed begins here"
    (tmp_path / "CMD_FLAGS.txt").write_text("--prot 7000")
    assert refusal(capsys, tmp_path) == (
        "In CMD_FLAGS.txt: There is no flag --prot. Did you mean --port?"
    )
    (tmp_path / "CMD_FLAGS.txt").write_text("--port 70000")
    assert refusal(capsys, tmp_path).startswith("In CMD_FLAGS.txt: Argument --port: ")
    (tmp_path / "CMD_FLAGS.txt").write_text("--port 7000")
    assert refusal(capsys, tmp_path, "--port", "x").startswith("Argument --port: ")
    (tmp_path / "CMD_FLAGS.txt").write_text("--model 'a")
    assert "CMD_FLAGS.txt cannot be read" in refusal(capsys, tmp_path)


def test_flags_of_extensions_are_read_without_importing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "extensions"
    for id, toml in {
        "tts": 'name = "Text to speech"\n[[flags]]\nname = "voice"\nhelp = "Who; 100%"\n'
        'type = "str"\nmetavar = "NAME"\n[[flags]]\nname = "mute"\nhelp = "Say nothing"\n',
        "llama_cpp": '[[flags]]\nname = "threads"\nhelp = "t"\ntype = "int"\ndefault = 4\n'
        '[[flags]]\nname = "voice"\nhelp = "taken"\ntype = "str"\n'
        '[[flags]]\nname = "port"\nhelp = "taken"\ntype = "list"\n',
        "broken": "[[flags]\n",
        "worse": "flags = 3\n",
    }.items():  # fmt: skip
        (folder / id).mkdir(parents=True)
        (folder / id / "extension.toml").write_text(toml)
        (folder / id / "__init__.py").write_text("raise SystemExit('imported')")
    before = set(sys.modules)
    argv = "--tts-voice alba --mute --voice x --llama-cpp-port a b --port 1".split()  # noqa: SIM905
    flags = parse(argv, tmp_path, [folder])
    assert flags.port == 1
    assert flags.extensions == {
        "tts": {"voice": "alba", "mute": True},
        "llama_cpp": {"threads": 4, "voice": "x", "port": ["a", "b"]},
    }
    assert not {name for name in set(sys.modules) - before if "tts" in name}
    assert "Did you mean --threads?" in refusal(capsys, tmp_path, "--thread", "2")
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], tmp_path, [folder])
    assert not caught.value.code
    shown = capsys.readouterr().out
    assert "Text to speech:" in shown
    assert "Who; 100%" in shown
