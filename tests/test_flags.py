"""The command line and CMD_FLAGS.txt; A14 of attacks-and-faults.md."""

import re
import sys
from pathlib import Path

import pytest

from kernel import __version__
from kernel.flags import Flags, parse
from kernel.oldflags import table
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
        notes="By --extensions only these and what they need run: a, b\n",
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
        ("--pasword x", "There is no flag --pasword. See --help."),
        ("--lisen", "There is no flag --lisen. See --help."),
        ("--strit", "There is no flag --strit. Did you mean --strict?"),
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
    (tmp_path / "CMD_FLAGS.txt").write_bytes("--model Übung".encode("latin-1"))
    assert refusal(capsys, tmp_path) == "CMD_FLAGS.txt is not UTF-8. Save it as UTF-8."


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_a_file_of_flags_in_what_editors_and_powershell_write(
    tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "CMD_FLAGS.txt").write_bytes("# mine\r\n--model Übung\r\n".encode(encoding))
    assert parse([], tmp_path).model == "Übung"


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
        listen="0.0.0.0", port=9000, model="a model", only=("c",), password="x",
        notes="By --extensions only these and what they need run: c\n",
    )  # fmt: skip
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


def old(tmp_path: Path, line: str) -> Flags:
    """What a line of text-generation-webui's CMD_FLAGS.txt means with the extensions as shipped."""
    (tmp_path / "CMD_FLAGS.txt").write_text(line)
    return parse([], tmp_path, FOLDERS)


def test_old_flags_with_another_name_here_are_taken(tmp_path: Path) -> None:
    flags = old(
        tmp_path,
        "--listen-port 7861 --ssl-keyfile=k --ssl_certfile c --nowebui --api --api-port 5001"
        " --cpu --low-vram --no_flash_attn --model m",
    )
    assert (flags.port, flags.model, flags.no_browser) == (7861, "m", True)
    assert (flags.tls_key, flags.tls_cert) == (tmp_path / "k", tmp_path / "c")
    assert flags.extensions["legacy_api"]["api-blocking-port"] == 5001
    given = flags.extensions["llama_cpp"]
    assert (given["n-gpu-layers"], given["no-kv-offload"], given["flash-attn"]) == (0, True, "off")
    assert flags.notes == ""


@pytest.mark.parametrize(
    ("line", "means"),
    [("--flash-attn --api", "on"), ("--flash-attn=off", "off"), ("--flash-attn auto", "auto")],
)
def test_a_flag_may_mean_something_alone(tmp_path: Path, line: str, means: str) -> None:
    assert old(tmp_path, line).extensions["llama_cpp"]["flash-attn"] == means


def test_old_flags_that_mean_nothing_are_left_out_in_one_line(tmp_path: Path) -> None:
    flags = old(
        tmp_path,
        "--chat --auto-launch --gpu-memory 10 8 --model 'a model' --wbits=4 --n_gqa -1"
        " --notebook --groupsize 128 --lora a b",
    )
    assert flags.model == "a model"
    assert flags.extensions["loras"] == {"lora": ["a", "b"]}
    assert flags.notes == (
        "In CMD_FLAGS.txt: Left out, as it means nothing here: --chat, --notebook (the page has "
        "all of it); --auto-launch (the page opens by itself); --gpu-memory (each loader places a "
        "model itself); --wbits, --groupsize (for a loader that is not here); --n-gqa (the "
        "model's file says it).\n"
    )


def test_all_flags_that_cannot_be_are_named_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "CMD_FLAGS.txt").write_text(
        "--gradio-auth ada:hunter2 --prot 80 --chat --share --model m --load-in-4bit --xyzzy 3"
    )
    said = refusal(capsys, tmp_path).split("\n")
    assert [line.partition(". ")[0] for line in said] == [
        "In CMD_FLAGS.txt: --gradio-auth: A password stands alone here, without a name",
        "In CMD_FLAGS.txt: --share: Spindle makes no tunnel to the internet",
        "In CMD_FLAGS.txt: --load-in-4bit: Transformers keeps weights as they are here",
        "In CMD_FLAGS.txt: There is no flag --prot",
        "In CMD_FLAGS.txt: There is no flag --xyzzy",
    ]
    assert said[3].endswith("Did you mean --port?")
    assert "hunter2" not in "".join(said)


@pytest.mark.parametrize("flag", ["--listen-host", "--api-key", "--multi-user", "--user-data-dir"])
def test_what_would_change_who_may_come_in_or_what_is_meant_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    said = refusal(capsys, tmp_path, flag, "x")
    assert said.startswith(f"{flag}: ")
    assert "Did you mean" not in said


def test_an_old_flag_that_an_extension_has_is_that_extensions(tmp_path: Path) -> None:
    folder = tmp_path / "extensions" / "quant"
    folder.mkdir(parents=True)
    (folder / "extension.toml").write_text(
        '[[flags]]\nname = "wbits"\nhelp = "bits"\ntype = "int"\n'
        '[[flags]]\nname = "share"\nhelp = "share it"\n'
    )
    flags = parse(["--wbits", "4", "--share"], tmp_path, [folder.parent])
    assert flags.extensions == {"quant": {"wbits": 4, "share": True}}
    assert flags.notes == ""


def test_what_an_old_flag_became_may_be_an_extensions_that_is_not_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, tmp_path, "--cpu") == "There is no flag --cpu. See --help."


def test_the_value_of_an_old_flag_is_no_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "CMD_FLAGS.txt").write_text("--extra-flags=--verbose")
    with pytest.raises(SystemExit):
        parse([], tmp_path, FOLDERS)
    assert capsys.readouterr().err.count("\n") == 1
    assert old(tmp_path, "--wbits=--verbose --chat=x").verbose is False


def test_a_command_has_no_old_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "extensions" / "loom"
    folder.mkdir(parents=True)
    (folder / "extension.toml").write_text(COMMANDS)
    assert "There is no flag --chat." in refusal(capsys, tmp_path, "weave", "red", "--chat")


def test_the_table_of_old_flags_says_one_thing_of_each() -> None:
    entries = table("flags")
    names = [name for entry in entries for name in entry["names"].split()]
    assert len(names) == len({*names}) > 100
    assert not [name for name in names if not re.fullmatch("--[a-z][a-z0-9-]+", name)]
    assert all({*entry} - {"names", "values"} < {"now", "gone", "refused"} for entry in entries)
    assert all(len({*entry} - {"names", "values"}) == 1 for entry in entries)
