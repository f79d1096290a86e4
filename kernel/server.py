"""The running server: its socket, its door, its kernel, and how it ends."""

import asyncio
import errno
import gc
import os
import socket
import sys
import webbrowser
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import uvicorn
from msgspec import Meta
from msgspec.structs import replace
from starlette.types import ASGIApp

from kernel import __version__
from kernel.app import Application
from kernel.checks import unknown
from kernel.contract import Refused
from kernel.environments import try_lock
from kernel.files import write
from kernel.flags import Flags
from kernel.keyring import Keyring
from kernel.listener import ACCEPTED, listen, own_names
from kernel.logs import discreet
from kernel.manager import Kernel
from kernel.oldflags import table
from kernel.origins import Api
from kernel.ports import also
from kernel.records import LEADS, Access
from kernel.remembered import Remembered
from kernel.rescue import Rescue
from kernel.sampling import Struct
from kernel.security import Security
from kernel.settings import SettingsFile
from kernel.starting import Late
from kernel.watchdog import Watchdog
from kernel.webserver import Patient, check_certificate
from kernel.workers import Engines

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = [ROOT / "extensions"]
OPEN = "Nobody but pages of other sites needs it: Spindle was started with --insecure-no-auth."
HELD_UP = "Seconds that an extension may hold everything up until a restart without it is offered."


class Server(Struct, frozen=True):
    """The section `server` of the settings."""

    open_browser: Annotated[bool, Meta(description="Open the page when Spindle starts.")] = True
    patience: Annotated[float, Meta(ge=2, le=3600, description=HELD_UP)] = 10.0


def kernel_of(flags: Flags, memory: Remembered | None = None) -> Kernel:
    """The kernel that the flags describe, with nothing started yet; raises Refused."""
    data = (flags.data_dir or ROOT / "data").resolve()
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            f"{data} cannot be the data folder ({error}). Give another: --data-dir"
        ) from None
    for file in (flags.tls_cert, flags.tls_key, flags.settings and flags.settings.parent):
        if file and not file.exists():
            raise Refused(f"There is no {file}. Check the path.")
    if flags.tls_cert and flags.tls_key:
        check_certificate(flags.tls_cert, flags.tls_key)
    if flags.model_dir and not flags.model_dir.is_dir():
        raise Refused(f"There is no folder {flags.model_dir} for models. Make it, or give another.")
    file = flags.settings or (data if flags.data_dir else ROOT) / "settings.yaml"
    if not flags.settings and not file.exists():
        with suppress(OSError):  # A folder that takes no file: all stays as it is by default.
            write(file, (ROOT / "settings.default.yaml").read_bytes())
    told = {n: getattr(flags, n) for n in ("model", "loader", "listen", "safe_mode")}
    told["allow-remote-install"] = flags.allow_remote_install
    kernel = Kernel(
        SettingsFile(file.resolve(), data / "secrets", memory),
        [*FOLDERS, data / "extensions"],
        data,
        environments=flags.environments_dir and flags.environments_dir.resolve(),
        models=(flags.model_dir or ROOT / "models").resolve(),
        loras=(flags.lora_dir or ROOT / "loras").resolve(),
        characters=(flags.character_dir or ROOT / "characters").resolve(),
        templates=ROOT / "templates",
        flags={"kernel": told, **flags.extensions},
        strict=flags.strict,
        memory=memory,
    )
    kernel.discover()
    if strange := sorted({*(flags.only or ()), *flags.without} - kernel.records.keys()):
        old, known = table("extensions"), kernel.records
        raise Refused(" ".join(old.get(id) or unknown(id, known, "extension") for id in strange))
    kernel.without = set(flags.without)
    kernel.only = None if flags.only is None else {*flags.only, LEADS}
    return kernel


async def serve(flags: Flags, memory: Remembered) -> None:
    """Run the server until it is told to stop."""
    kernel = kernel_of(flags, memory)
    with _alone(kernel.data), _listening(flags) as listener:
        web = Application(kernel, ROOT / "static")
        keyring = Keyring(kernel.data / "secrets", flags.password)
        address = _address(listener, flags)
        with suppress(OSError):  # For who starts a second one.
            write(kernel.data / "address", address.encode())
        door = partial(
            Security,
            keyring=keyring,
            sign_in=partial(kernel.pages.render, "token.html"),
            port=listener.getsockname()[1],
            hosts=flags.allowed_host,
            listens=bool(flags.listen),
            tls=bool(flags.tls_cert),
            no_auth=flags.insecure_no_auth,
            far_admin=flags.allow_remote_install,
            rules=partial(kernel.settings.section, "api", Api),
        )
        guarded = door(web, access_of=web.access, refused=web.refused)
        late = Late(guarded, kernel)
        ports = partial(also, guarded, partial(_config, late, flags), flags.listen or "127.0.0.1")
        elsewhere = _elsewhere(address, flags)
        names = tuple(f"{each}/v1" for each in elsewhere)
        note = OPEN if flags.insecure_no_auth else ""
        kernel.access = Access(
            f"{address}/v1", names, keyring.key, note, keyring.has_password, guarded, ports
        )
        server = Patient(_config(late, flags))
        rescue = Rescue(kernel, listener, door, partial(_config, flags=flags), server.idle)

        def patience() -> float:
            return kernel.settings.section("server", Server).patience

        def rekeyed(key: str) -> None:
            kernel.access = replace(kernel.access, key=key)
            guarded.drop_keys()

        with Watchdog(kernel, limit=patience, rescue=rescue):
            async with _running(kernel, web, late, keyring.watch(rekeyed)) as starting:
                token = "" if flags.insecure_no_auth else keyring.link()

                def ready() -> None:
                    with suppress(OSError):  # The disk is full, or nobody reads it any more.
                        _greet(kernel, address, elsewhere, token, flags)
                    starting.add_done_callback(partial(_all_started, kernel, web))

                server.ready = ready
                await server.serve(sockets=[listener])


def _elsewhere(address: str, flags: Flags) -> list[str]:
    """The address as other machines know it, while they may come by any of this one's names."""
    if flags.listen not in ("0.0.0.0", "::"):
        return []
    (scheme, _, rest), end = address.partition("://"), address[address.rindex(":") :]
    names = sorted(name for name in own_names() if name[:4] not in ("127.", "[::1"))
    six = flags.listen == "::"
    names = [name for name in names if (name.strip(".0123456789") if six else name[0] != "[")]
    return [f"{scheme}://{name}{end}" for name in names if name + end != rest]


def _greet(kernel: Kernel, address: str, elsewhere: list[str], token: str, flags: Flags) -> None:
    link = f"{address}/?token={token}" if token else f"{address}/"
    once = " The link opens once; later, just the address." if token else ""
    print(f"{flags.notes}Spindle {__version__} is ready.{once}\n\n    {link}\n")
    if elsewhere:
        means = "and nobody needs a password," if flags.insecure_no_auth else "with the password,"
        print(f"Other machines reach it, {means} at {', '.join(elsewhere)}\n")
    print(f"Key for browsers and programs: {kernel.access.key}\nStop with Ctrl+C.", flush=True)
    if flags.environments_dir and not flags.environments_dir.exists():
        print(f"Engines will be installed in a new folder, {flags.environments_dir.resolve()}")
    if flags.settings and not kernel.settings.path.exists():
        print(f"{kernel.settings.path} is not there: all is as by default until a first change.")
    if not flags.no_browser and kernel.settings.section("server", Server).open_browser:
        asyncio.get_running_loop().run_in_executor(None, _open, link)


def _open(link: str) -> None:
    """In a browser with a window: one for terminals would take Spindle's own, and Ctrl+C."""
    with suppress(webbrowser.Error):
        kind = type(webbrowser.get()).__name__
        if "BROWSER" in os.environ or kind not in ("GenericBrowser", "Elinks"):
            webbrowser.open(link)


def _all_started(kernel: Kernel, web: Application, starting: asyncio.Task[None]) -> None:
    gc.freeze()  # What is here now is not looked through again.
    gc.enable()
    for where, problem in kernel.settings.told(kernel.records).items():
        with suppress(OSError):
            said = f"In {kernel.settings.path.name}, {where or 'as a whole'}: {problem}"
            print(discreet(said), file=sys.stderr)
    if starting.cancelled():
        return
    starting.result()  # A fault of the kernel's own is told at once.
    web.assets.styles()  # The first page may come later than what it needs is kept.
    asyncio.get_running_loop().run_in_executor(None, kernel.memory.keep)


@asynccontextmanager
async def _running(
    kernel: Kernel, web: Application, late: Late, key: Coroutine[Any, Any, None]
) -> AsyncGenerator[asyncio.Task[None]]:
    for name, kind in (("server", Server), ("api", Api), ("model", Engines)):
        kernel.settings.section(name, kind)
    tasks = [
        asyncio.create_task(web.follow(), name="follow"),
        asyncio.create_task(key, name="key"),
        asyncio.create_task(kernel.settings.watch(kernel.changes.follow), name="settings"),
    ]
    starting = asyncio.create_task(late.start(), name="start")
    try:
        await late.serving.wait()
        if starting.done():
            starting.result()  # Raises what a setup raised, with --strict.
        yield starting
    finally:
        starting.cancel()
        await asyncio.wait({starting})
        await kernel.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _alone(data: Path) -> Generator[None]:
    """One server per data folder: two would write the same chats."""
    try:
        file = (data / ".lock").open("a")
    except OSError:  # What cannot be written to needs no lock, and chats can be kept in memory.
        yield
        return
    with file:
        if not try_lock(file.fileno()):
            at = ""
            with suppress(OSError, ValueError):
                at = f" at {(data / 'address').read_text('utf-8')}"
            raise Refused(
                f"Spindle runs already{at}, with the data in {data}. Use the one that runs, or "
                "give this one a folder of its own: --data-dir FOLDER --port 7861"
            )
        yield


@contextmanager
def _listening(flags: Flags) -> Generator[socket.socket]:
    host = flags.listen or "127.0.0.1"
    try:
        listener = listen(host, flags.port)
    except OSError as error:
        said = str(error.strerror).partition(" (")[0]  # Python says the address once more.
        why = f"Spindle cannot listen at {host}:{flags.port} ({said}). Give another address "
        why += "or a port above 1023."
        if error.errno == errno.EADDRINUSE:
            why = f"Port {flags.port} is taken by another program. Stop that, or use another: "
            why += f"--port {flags.port + 1}"
        raise Refused(why) from None
    with listener:
        yield listener


def _address(listener: socket.socket, flags: Flags) -> str:
    host, port = listener.getsockname()[:2]
    host: str = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if flags.tls_cert else 'http'}://{name}:{port}"


def _websocket(**words: Any) -> asyncio.Protocol:
    """Speaks to a page's socket; loaded with the first one, so that the page itself is sooner."""
    from kernel.websocket import ManyTexts  # noqa: PLC0415 - 20 ms

    return ManyTexts(**words)


def _config(door: ASGIApp, flags: Flags) -> uvicorn.Config:
    return uvicorn.Config(
        door,
        http="httptools",
        ws=cast(Any, _websocket),  # uvicorn calls it where a class would be made
        ws_max_size=4 << 20,  # the longest message of a page, in any script
        ws_per_message_deflate=False,
        ws_ping_interval=10,
        ws_ping_timeout=15,
        lifespan="off",
        backlog=ACCEPTED,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # Who asks is who connects; a header could be anybody's word.
        timeout_graceful_shutdown=2,
        ssl_certfile=flags.tls_cert,
        ssl_keyfile=flags.tls_key,
    )
