"""The command line: the kernel's flags, those of extensions, and CMD_FLAGS.txt before both."""

import argparse
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import msgspec

from kernel import __version__
from kernel.discovery import Discovery
from kernel.logs import discreet
from kernel.manifest import Command, Flag, Manifest
from kernel.oldflags import dashed, modern, no_such
from kernel.remembered import Remembered
from kernel.sampling import Struct

EXPOSED = (
    "--listen lets other machines use this server, so it needs --password or --password-file. "
    "Without either, anybody who reaches it can read your chats and change everything; "
    "to allow just that, add --insecure-no-auth."
)
T = TypeVar("T")


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # No shell did that in CMD_FLAGS.txt, or after a "=".


TYPES: Mapping[str, Any] = {"str": str, "int": int, "float": float, "path": _path}


class Flags(Struct, frozen=True):
    """What was asked for at the start."""

    owner: str = ""
    code: str = ""
    """Of a command: the extension whose it is, and what of that is called."""
    arguments: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    listen: str = ""
    """The address to listen at; empty is this machine alone."""
    port: int = 7860
    settings: Path | None = None
    data_dir: Path | None = None
    environments_dir: Path | None = None
    model_dir: Path | None = None
    lora_dir: Path | None = None
    character_dir: Path | None = None
    model: str = ""
    loader: str = ""
    only: tuple[str, ...] | None = None
    """`--extensions`: these run, whatever the settings say; `--safe-mode`: none."""
    without: tuple[str, ...] = ()
    """These do not run, whatever the settings say, until they are switched on in Settings."""
    safe_mode: bool = False
    strict: bool = False
    password: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allowed_host: tuple[str, ...] = ()
    insecure_no_auth: bool = False
    allow_remote_install: bool = False
    no_browser: bool = False
    verbose: bool = False
    extensions: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])
    """By extension, what was said of its own flags (and the manifest's defaults)."""
    notes: str = ""
    """Lines for the start: what was left out of it, and why."""


def parse(
    argv: Sequence[str], root: Path, folders: Sequence[Path] = (), memory: Remembered | None = None
) -> Flags:
    """Read CMD_FLAGS.txt in `root`, then `argv`, which wins. Ends the program on a mistake.

    Flags and commands of extensions are taken from their manifests; nothing is imported.
    """
    parser, said, file = _Parser(allow_abbrev=False), argparse.Namespace(), root / "CMD_FLAGS.txt"
    try:
        data = file.read_bytes() if file.exists() else b""
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        lines = [line.strip().rstrip("\\") for line in text.splitlines()]
        text = " ".join(line for line in lines if not line.startswith("#"))
        lexer = shlex.shlex(text, posix=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        lexer.escape = "" if os.name == "nt" else lexer.escape  # There it parts folders.
        always, argv = dashed([*lexer]), dashed(argv)
    except UnicodeError:
        parser.error(f"{file.name} is not UTF-8. Save it as UTF-8.")
    except ValueError as error:
        parser.error(f"{file.name} cannot be read ({error}). Correct it.")
    manifests = _manifests(always, argv, root, folders, memory or Remembered())
    notes, names = "", [each.name for _, each in _commands(manifests)]
    command = next((c for c in _commands(manifests) if c[1].name in argv[:1]), None)
    if command or "serve" in argv[:1]:
        argv = argv[1:]
    parser = _parser(manifests, command)
    if command:  # Of the server's flags those that say where its files lie are its own, too.
        files = _Parser(add_help=False, allow_abbrev=False)
        files.where = f"In {file.name}: "
        _add_files(files)
        files.parse_known_args(always, said)
    else:
        notes = _read(parser, always, said, f"In {file.name}: ", names)
    _below(said, root)
    notes += _read(parser, argv, said, "", names)
    values = vars(said)
    extensions: dict[str, dict[str, Any]] = {}
    for name in [name for name in values if ":" in name]:  # a command's own belong to nobody
        (id, _, flag), value = name.rpartition(":"), values.pop(name)
        if value is not None:
            extensions.setdefault(id, {})[flag] = value
    if command:
        arguments = {k.replace("-", "_"): v for k, v in extensions.pop("", {}).items()}
        values |= {"owner": command[0], "code": command[1].code, "arguments": arguments}
        return msgspec.convert(values, Flags)
    values["only"] = () if values["safe_mode"] else values["only"]
    if values["only"]:
        notes += f"By --extensions only these and what they need run: {', '.join(values['only'])}\n"
    if (secret := values.pop("password_file")) and values["password"]:
        parser.error("--password and --password-file exclude each other. Leave one out.")
    elif secret:
        try:
            values["password"] = Path(secret).read_text("utf-8-sig").partition("\n")[0].strip()
        except (OSError, UnicodeError) as error:
            parser.error(f"The password file cannot be read: {error}")
        if not values["password"]:
            parser.error("The first line of the password file is empty. Write the password there.")
    if re.search("[\ud800-\udfff]", values["password"]):
        parser.error("The password holds bytes that are no text (UTF-8). Choose another.")
    if values["listen"] and not values["password"] and not values["insecure_no_auth"]:
        parser.error(EXPOSED)
    if values["password"] and values["insecure_no_auth"]:
        parser.error("--insecure-no-auth and a password exclude each other. Leave one out.")
    if bool(values["tls_cert"]) != bool(values["tls_key"]):
        parser.error("--tls-cert and --tls-key belong together. Give both.")
    return msgspec.convert({**values, "extensions": extensions, "notes": notes}, Flags)


class _Parser(argparse.ArgumentParser):
    where = ""

    def error(self, message: str) -> NoReturn:
        self.exit(2, discreet(f"{self.where}{message[:1].upper()}{message[1:]}") + "\n")

    def format_help(self) -> str:
        return "\n".join(map(discreet, super().format_help().split("\n")))


def _manifests(
    always: Sequence[str],
    argv: Sequence[str],
    root: Path,
    folders: Sequence[Path],
    memory: Remembered,
) -> dict[str, dict[str, Any]]:
    """The manifests of all extensions, unchecked, by id; one that cannot be read is left out."""
    early = _Parser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--data-dir", type=_path, default=root / "data")
    said = argparse.Namespace()
    with suppress(argparse.ArgumentError):  # told later, by the parser that knows all flags
        early.parse_known_args(always, said)
        _below(said, root)
        early.parse_known_args(argv, said)
    root = said.data_dir
    memory.begin(root)
    found: dict[str, dict[str, Any]] = {}
    for id, folder in Discovery([*folders, root / "extensions"], root / "installed").folders():
        with suppress(ValueError):  # the manager says so on its card
            found[id] = Manifest.said(folder, memory)
    return found


def _listed(manifest: dict[str, Any], name: str, kind: type[T]) -> list[T]:
    try:
        return msgspec.convert(manifest.get(name, []), list[kind])
    except msgspec.ValidationError:
        return []  # the manager says so on its card


def _commands(manifests: dict[str, dict[str, Any]]) -> list[tuple[str, Command]]:
    return [(id, c) for id, m in manifests.items() for c in _listed(m, "commands", Command)]


def _parser(manifests: dict[str, dict[str, Any]], command: tuple[str, Command] | None) -> _Parser:
    """The parser; the destination of what is not the kernel's is `<extension>:<flag>`."""
    if command:
        prog, description = f"python server.py {command[1].name}", command[1].help
        parser = _Parser(prog=prog, description=description, allow_abbrev=False)
        for word in command[1].arguments:
            many, shown = "+" if word.many else None, word.name.upper()
            parser.add_argument(f":{word.name}", metavar=shown, help=word.help, nargs=many)
        for flag in command[1].flags:
            _add(parser, "", flag)
        _add_files(parser)
        return parser
    commands = "".join(f"\n  {c.name:11} {c.help}" for _, c in _commands(manifests))
    parser = _Parser(
        prog="python server.py",
        description="Talk to language models on your own machine, in the browser.",
        epilog="Flags for every start can stand in CMD_FLAGS.txt.\n\n"
        f"commands, as in python server.py NAME --help:{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"Spindle {__version__}")
    # fmt: off
    # Whoever comes here is set up: server.py stops at it before.
    parser.add_argument("--setup-only", action="version", version="Set up.", help="set up and stop")
    add = parser.add_argument_group("reaching it").add_argument
    add("--listen", nargs="?", const="0.0.0.0", default="", metavar="HOST",
        help="let other machines in, at every address or at this one; needs a password")
    add("--port", type=_port, default=7860, help="default: 7860")
    add("--password", default="", help="what a browser must say (other users see it in `ps`)")
    add("--password-file", type=_path, metavar="FILE", help="the same, from a file's first line")
    add("--allowed-host", nargs="+", default=[], metavar="NAME",
        help="more names this server goes by, such as those of a proxy before it")
    add("--tls-cert", type=_path, metavar="FILE", help="serve https with this certificate")
    add("--tls-key", type=_path, metavar="FILE", help="and its private key")
    add("--allow-remote-install", action="store_true",
        help="let other machines install extensions, too (whoever has the key runs code here)")
    add("--insecure-no-auth", action="store_true", help="ask nobody for anything: no token, no key")
    add("--no-browser", action="store_true", help="do not open the page")
    add = parser.add_argument_group("the model").add_argument
    add("--model", default="", metavar="NAME", help="load this one, a path below models/")
    add("--loader", default="", metavar="ID", help="with this loader")
    _add_files(parser)
    add = parser.add_argument_group("extensions").add_argument
    add("--extensions", dest="only", nargs="+", metavar="ID", help="run these and no others")
    add("--without", nargs="+", action="extend", default=[], metavar="ID", help="run all but these")
    add("--safe-mode", action="store_true", help="run none")
    add("--strict", action="store_true", help="raise their errors, contain none (for authors)")
    # fmt: on
    for id, manifest in manifests.items():
        flags = _listed(manifest, "flags", Flag)
        group = parser.add_argument_group(str(manifest.get("name", id))) if flags else parser
        for flag in flags:
            _add(group, id, flag)
    return parser


def _add_files(parser: _Parser) -> None:
    add = parser.add_argument_group("files").add_argument
    add("--settings", type=_path, metavar="FILE", help="instead of settings.yaml")
    add("--data-dir", type=_path, metavar="FOLDER", help="for chats, jobs, secrets and settings")
    add("--model-dir", type=_path, metavar="FOLDER", help="where models lie; default: models")
    add("--lora-dir", type=_path, metavar="FOLDER", help="where adapters lie; default: loras")
    add("--character-dir", type=_path, metavar="FOLDER", help="of characters; default: characters")
    add("--environments-dir", type=_path, metavar="FOLDER", help="for the engines' environments")
    add("--verbose", action="store_true", help="log every step")


def _add(group: Any, id: str, flag: Flag) -> None:
    """A flag of an extension; it carries the extension's id where its name is taken."""
    options: dict[str, Any] = {"dest": f"{id}:{flag.name}", "default": flag.default}
    options["help"] = flag.help.replace("%", "%%")
    if flag.type == "bool":
        options |= {"action": "store_const", "const": True}
    else:
        nargs = "+" if flag.type == "list" else "?" if flag.alone else None
        options |= {"nargs": nargs, "const": flag.alone, "metavar": flag.metavar or None}
        options["type"] = TYPES.get(flag.type, str)
    try:
        group.add_argument(f"--{flag.name}", **options)
    except argparse.ArgumentError:
        group.add_argument(f"--{id.replace('_', '-')}-{flag.name}", **options)


def _read(
    parser: _Parser, argv: Sequence[str], said: argparse.Namespace, where: str, commands: list[str]
) -> str:
    """Take up what is said there; answers a line on what of it was left out, if anything."""
    parser.where = where
    known = [option for action in parser._actions for option in action.option_strings]
    words, left_out, wrong = modern(argv, known)
    _, strange = parser.parse_known_args(words, said)
    if strange and strange[0] in commands:
        parser.error(f"A command comes first: python server.py {strange[0]}")
    flags = [word.partition("=")[0] for word in strange if word.startswith("--")]
    wrong += [no_such(word, [*known, *commands]) for word in flags or strange[:1]]
    if wrong:
        parser.exit(2, "".join(f"{discreet(where + each)}\n" for each in wrong))
    return left_out and f"{where}{left_out}\n"


def _below(said: argparse.Namespace, root: Path) -> None:
    """Paths that CMD_FLAGS.txt names begin where it lies, wherever the start is made from."""
    for name, value in vars(said).items():
        if isinstance(value, Path):
            setattr(said, name, root / value)


def _port(text: str) -> int:
    if not text.isdecimal() or not int(text) < 65536:
        raise argparse.ArgumentTypeError("it must be a whole number up to 65535")
    return int(text)
