"""The command line: the kernel's flags, those of extensions, and CMD_FLAGS.txt before both."""

import argparse
import difflib
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from kernel import __version__
from kernel.manifest import Flag
from kernel.sampling import Struct

COMMANDS = ("serve", "install")
EXPOSED = (
    "--listen lets other machines use this server, so it needs --password or --password-file. "
    "Without either, anybody who reaches it can read your chats and change everything; "
    "to allow just that, add --insecure-no-auth."
)
TYPES: Mapping[str, Any] = {"str": str, "int": int, "float": float, "path": Path}


class Flags(Struct, frozen=True):
    """What was asked for at the start."""

    command: Literal["serve", "install"] = "serve"
    targets: tuple[str, ...] = ()
    """Of `install`: the extensions whose environments are built."""
    listen: str = ""
    """The address to listen at; empty is this machine alone."""
    port: int = 7860
    settings: Path | None = None
    data_dir: Path | None = None
    environments_dir: Path | None = None
    model_dir: Path | None = None
    model: str = ""
    loader: str = ""
    only: tuple[str, ...] | None = None
    """`--extensions`: these run, whatever the settings say; `--safe-mode`: none."""
    strict: bool = False
    password: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allowed_host: tuple[str, ...] = ()
    insecure_no_auth: bool = False
    no_browser: bool = False
    verbose: bool = False
    extensions: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])
    """By extension, what was said of its own flags (and the manifest's defaults)."""


def parse(argv: Sequence[str], root: Path, folders: Sequence[Path] = ()) -> Flags:
    """Read CMD_FLAGS.txt in `root`, then `argv`, which wins. Ends the program on a mistake.

    Flags of extensions are taken from the manifests below `folders`; nothing is imported.
    """
    command = argv[0] if argv and argv[0] in COMMANDS else "serve"
    argv = argv[1:] if command in argv[:1] else argv
    parser, owned = _parser(command, folders)
    said = argparse.Namespace()
    file = root / "CMD_FLAGS.txt"
    if file.exists() and command == "serve":
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
        wanted = " ".join(line.rstrip("\\") for line in lines if not line.startswith("#"))
        try:
            _read(parser, shlex.split(wanted), said, f" (in {file.name})")
        except ValueError as error:
            parser.error(f"{file.name} cannot be read: {error}")
    _read(parser, argv, said, "")
    values = vars(said)
    extensions: dict[str, dict[str, Any]] = {}
    for name, (id, flag) in owned.items():
        if (value := values.pop(name, None)) is not None:
            extensions.setdefault(id, {})[flag] = value
    if values.pop("safe_mode"):
        values["only"] = ()
    if (secret := values.pop("password_file")) and values["password"]:
        parser.error("--password and --password-file exclude each other. Leave one out.")
    elif secret:
        try:
            values["password"] = Path(secret).read_text("utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeError) as error:
            parser.error(f"The password file cannot be read: {error}")
        if not values["password"]:
            parser.error("The first line of the password file is empty. Write the password there.")
    if values["listen"] and not values["password"] and not values["insecure_no_auth"]:
        parser.error(EXPOSED)
    if values["password"] and values["insecure_no_auth"]:
        parser.error("--insecure-no-auth and a password exclude each other. Leave one out.")
    if bool(values["tls_cert"]) != bool(values["tls_key"]):
        parser.error("--tls-cert and --tls-key belong together. Give both.")
    return msgspec.convert({**values, "command": command, "extensions": extensions}, Flags)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[:1].upper()}{message[1:]}\n")


def _parser(command: str, folders: Sequence[Path]) -> tuple[_Parser, dict[str, tuple[str, str]]]:
    """The parser, and whose flag each destination that is not the kernel's is."""
    parser = _Parser(
        prog="python server.py",
        description="Talk to language models on your own machine, in the browser.",
        epilog="Flags for every start can stand in CMD_FLAGS.txt. "
        "`python -m kernel install ID` builds the environment of an extension's engine.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"Spindle {__version__}")
    if command == "install":
        parser.add_argument("targets", nargs="+", metavar="ID", help="an extension")
    # fmt: off
    add = parser.add_argument_group("reaching it").add_argument
    add("--listen", nargs="?", const="0.0.0.0", default="", metavar="HOST",
        help="let other machines in, at every address or at this one; needs a password")
    add("--port", type=_port, default=7860, help="default: 7860")
    add("--password", default="", help="what a browser must say (other users see it in `ps`)")
    add("--password-file", default="", metavar="FILE", help="the same, from a file's first line")
    add("--allowed-host", nargs="+", default=[], metavar="NAME",
        help="more names this server goes by, such as those of a proxy before it")
    add("--tls-cert", type=Path, metavar="FILE", help="serve https with this certificate")
    add("--tls-key", type=Path, metavar="FILE", help="and its private key")
    add("--insecure-no-auth", action="store_true", help="ask nobody for anything: no token, no key")
    add("--no-browser", action="store_true", help="do not open the page")
    add = parser.add_argument_group("the model").add_argument
    add("--model", default="", metavar="NAME", help="load this one, a path below models/")
    add("--loader", default="", metavar="ID", help="with this loader")
    add = parser.add_argument_group("files").add_argument
    add("--settings", type=Path, metavar="FILE", help="instead of settings.yaml")
    add("--data-dir", type=Path, metavar="FOLDER", help="for chats, jobs, secrets and settings")
    add("--model-dir", type=Path, metavar="FOLDER", help="where models lie; default: models")
    add("--environments-dir", type=Path, metavar="FOLDER", help="for the engines' environments")
    add = parser.add_argument_group("extensions").add_argument
    add("--extensions", dest="only", nargs="+", metavar="ID", help="run these and no others")
    add("--safe-mode", action="store_true", help="run none")
    add("--strict", action="store_true", help="raise their errors, contain none (for authors)")
    add = parser.add_argument_group("telling more").add_argument
    add("--verbose", action="store_true", help="log every step")
    # fmt: on
    owned: dict[str, tuple[str, str]] = {}
    for file in sorted(file for folder in folders for file in folder.glob("*/extension.toml")):
        id = file.parent.name
        try:
            manifest = tomllib.loads(file.read_text("utf-8"))
            flags = msgspec.convert(manifest.get("flags", []), list[Flag])
        except (OSError, ValueError, msgspec.ValidationError):
            continue  # the manager says so on its card
        group = parser.add_argument_group(str(manifest.get("name", id))) if flags else parser
        for flag in flags:
            _add(group, id, flag)
            owned[f"{id}:{flag.name}"] = id, flag.name
    return parser, owned


def _add(group: Any, id: str, flag: Flag) -> None:
    """A flag of an extension; it carries the extension's id where its name is taken."""
    options: dict[str, Any] = {"dest": f"{id}:{flag.name}", "default": flag.default}
    options["help"] = flag.help.replace("%", "%%")
    if flag.type == "bool":
        options |= {"action": "store_const", "const": True}
    elif flag.type == "list":
        options |= {"nargs": "+", "metavar": flag.metavar or None}
    else:
        options |= {"type": TYPES.get(flag.type, str), "metavar": flag.metavar or None}
    try:
        group.add_argument(f"--{flag.name}", **options)
    except argparse.ArgumentError:
        group.add_argument(f"--{id.replace('_', '-')}-{flag.name}", **options)


def _read(parser: _Parser, argv: Sequence[str], said: argparse.Namespace, where: str) -> None:
    _, strange = parser.parse_known_args(argv, said)
    if strange:
        flag = strange[0].partition("=")[0]
        known = [option for action in parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(flag, known, 1)
        hint = f"Did you mean {close[0]}?" if close else "See --help."
        parser.error(f"There is no flag {flag}{where}. {hint}")


def _port(text: str) -> int:
    if not text.isdecimal() or not int(text) < 65536:
        raise argparse.ArgumentTypeError("it must be a whole number up to 65535")
    return int(text)
