"""Builds the native engine's package from its source and keeps the wheel; blocking.

    python -m extensions.llama_cpp.building ENVIRONMENTS [VARIANT]

does the same in a terminal. The wheel of an environment lies in <environments>/wheels/<its name>,
where the kernel lets pip look when it makes that environment.
"""

import hashlib
import os
import platform
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from extensions.llama_cpp.children import child

PACKAGE = "llama-cpp-python==0.3.36"
"""As in extension.toml; a test holds them together."""
ENVIRONMENT = "xllamacpp"
NEEDS = 1 << 30
"""Bytes of the disk; 600 MB were seen at most."""
STEP = re.compile(r"^\s*\[\s*(\d+)/(\d+)\]|^\s*\[\s*(\d+)%\]")
"""How ninja and make count."""
TELLING = re.compile(r"^(?!\s*-- ).*(error:|CMake Error|No space left|Killed|could not find)", re.I)
"""Of an error; lines of cmake that begin with dashes tell what it does without."""
COMPILERS = re.compile(r"\S: (fatal )?error: ")
WORDS = 60
"""Lines of the log that are shown of a build that failed."""
BEFORE = 4
"""Lines that are shown before the first error: the command, and where in the source it is."""
AWAY = re.compile(r"Retrying \(|ConnectionError|timed out|ProxyError|SSLError|NameResolution")
NO_INDEX = "The package index does not answer: check the network or HTTPS_PROXY, then try again."
CANCELLED = "Building was cancelled. What was built of it is gone; it can be begun again."
Report = Callable[[float, str], None]
ONE = threading.Lock()
"""Held by the build that runs: one that was cancelled clears its folder before the next begins."""


class Backend(NamedTuple):
    """What the engine is built for."""

    variant: str
    title: str
    flags: str
    """For cmake."""
    tool: str = ""
    """A program that it cannot be built without."""
    package: str = ""
    """Debian's, where that comes from."""


BACKENDS = (
    Backend("native", "the processor (on a Mac also Metal)", ""),
    Backend("native-cuda", "CUDA (NVIDIA)", "-DGGML_CUDA=ON", "nvcc", "nvidia-cuda-toolkit"),
    Backend("native-vulkan", "Vulkan", "-DGGML_VULKAN=ON", "glslc", "libvulkan-dev glslc"),
    Backend("native-rpc", "the processor and RPC", "-DGGML_RPC=ON"),
)
PREFERRED = ("native-cuda", "native-vulkan", "native", "native-rpc")
"""Of several that are built and of which none was chosen."""
COMPILER = (
    "There is no C++ compiler. On Debian and Ubuntu run: sudo apt install g++ — on a Mac: "
    "xcode-select --install — on Windows install the Visual Studio Build Tools. Then try again."
)
REASONS = (
    (r"No space left on device|Errno 28|WinError 112",
     "The disk is full: free some space, then try again."),
    (r"CMAKE_CXX_COMPILER not set|No CMAKE_CXX?_COMPILER could be found|"
     r"unable to find .*compiler", COMPILER),
    (r"No matching distribution found",
     f"The package index has no {PACKAGE}. Check the network and pip's settings, then try again."),
    (r"CUDA Toolkit not found|Failed to find nvcc|No CMAKE_CUDA_COMPILER",
     "The CUDA toolkit is missing. On Debian and Ubuntu run: sudo apt install "
     "nvidia-cuda-toolkit — then try again."),
    (r"CUDA_ARCHITECTURES.*no GPU was detected",
     "No graphics card of NVIDIA answers here, so it is not known which to build for. See "
     "whether nvidia-smi finds one, or name its kind: CMAKE_ARGS=-DCMAKE_CUDA_ARCHITECTURES=86 — "
     "then try again."),
    (r"Could NOT find Vulkan|glslc.* not found",
     "The files to build for Vulkan are missing. On Debian and Ubuntu run: sudo apt install "
     "libvulkan-dev glslc — then try again."),
    (r"Killed signal|fatal error: Killed|virtual memory exhausted|cc1plus: out of memory",
     "The memory did not suffice for the compiler. Close something large, then try again."),
)  # fmt: skip


class NotBuilt(RuntimeError):
    """It could not be built: a sentence for a person; `log` are the last lines."""

    def __init__(self, sentence: str, log: str = "") -> None:
        super().__init__(sentence)
        self.log = log


def backend(variant: str) -> Backend:
    """Raises NotBuilt for a name that there is not."""
    for each in BACKENDS:
        if each.variant == variant:
            return each
    names = ", ".join(each.variant for each in BACKENDS)
    raise NotBuilt(f"There is no variant {variant} to build. There are: {names}.")


def folder_of(environments: Path, variant: str) -> Path:
    return environments / "wheels" / f"{ENVIRONMENT}-{variant}"


def wheel(environments: Path, variant: str) -> Path | None:
    """The kept wheel, if it was made for this processor: another's is an illegal instruction."""
    folder = folder_of(environments, variant)
    name, _, version = PACKAGE.replace("-", "_").partition("==")
    found = next(folder.glob(f"{name}-{version}-*.whl"), None)
    made_for = processor_of(environments, variant)
    return found if made_for == processor() else None


def processor_of(environments: Path, variant: str) -> str:
    """The processor that it was made for, or "" where nobody wrote that down."""
    made_for = folder_of(environments, variant) / "processor"
    return made_for.read_text("utf-8") if made_for.is_file() else ""


def best(environments: Path, built: Collection[str]) -> str:
    """The build that is used where the user chose none: one for a card before one for the
    processor, but none for another machine's; "" is the prebuilt engine."""
    mine = [each for each in built if processor_of(environments, each) in ("", processor())]
    return min(mine, key=PREFERRED.index, default="")


def processor() -> str:
    """This machine's processor, as far as what is compiled for it goes."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n")
        said = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        said = platform.processor()
    return f"{platform.machine()} {hashlib.sha256(said.encode()).hexdigest()[:16]}"


def build(environments: Path, variant: str, report: Report, cancelled: Callable[[], bool]) -> Path:
    """The wheel, at once or after minutes; raises NotBuilt."""
    while not ONE.acquire(timeout=0.1):
        if cancelled():
            raise NotBuilt(CANCELLED)
    try:
        return alone(environments, variant, report, cancelled)
    finally:
        ONE.release()


def unheard(
    environments: Path, variant: str, report: Report, cancelled: Callable[[], bool]
) -> Path | None:
    """As `build`, for a task that waits no longer once it is cancelled: what nobody hears is no
    error in the log."""
    try:
        return build(environments, variant, report, cancelled)
    except NotBuilt:
        if cancelled():
            return None
        raise


def alone(environments: Path, variant: str, report: Report, cancelled: Callable[[], bool]) -> Path:
    """As `build`, while no other one runs."""
    if found := wheel(environments, variant):
        return found
    chosen, folder = backend(variant), folder_of(environments, variant)
    check(chosen, environments)
    making = folder / "making"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        (making / "tmp").mkdir(parents=True)
        report(0.01, "Making a place to build in")
        run(venv(making / "python"), folder, report, cancelled)
        report(0.03, "Downloading the source (77 MB)")
        run(pip(making), folder, report, cancelled, variables(chosen, making))
        made = next((making / "out").glob("*.whl"))
        (folder / "processor").write_text(processor(), "utf-8")
        return made.replace(folder / made.name)
    except OSError as error:
        raise NotBuilt(
            f"{folder} cannot be written: {error.strerror or error}. Free some space, then try "
            "again."
        ) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def check(chosen: Backend, environments: Path) -> None:
    """Refuse at once what would fail after minutes."""
    environments.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(environments).free < NEEDS:
        raise NotBuilt("Building takes 1 GB of the disk, and less is free. Free some, try again.")
    compilers = (os.environ.get("CXX", "").split() or [""])[0], "c++", "g++", "clang++"
    if sys.platform != "win32" and not any(map(shutil.which, filter(None, compilers))):
        raise NotBuilt(COMPILER)
    if chosen.tool and not shutil.which(chosen.tool):
        raise NotBuilt(
            f"{chosen.tool} is missing, which building for {chosen.title} needs. On Debian and "
            f"Ubuntu run: sudo apt install {chosen.package} — then try again."
        )


def venv(folder: Path) -> list[str]:
    python = getattr(sys, "_base_executable", sys.executable)
    return [python, "-I", "-m", "venv", str(folder)]


def pip(making: Path) -> list[str]:
    python = making / "python" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    said = ["--verbose", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    out = ["--no-deps", "--no-cache-dir", "--wheel-dir", str(making / "out")]
    return [str(python), "-I", "-m", "pip", "wheel", *said, *out, PACKAGE]


def variables(chosen: Backend, making: Path) -> dict[str, str]:
    """The environment of the build; what the user set for cmake and the compiler stays."""
    said = dict(os.environ)
    given = {
        "CMAKE_ARGS": f"{chosen.flags} {said.get('CMAKE_ARGS', '')}".strip(),
        "CMAKE_BUILD_PARALLEL_LEVEL": said.get(
            "CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1)
        ),
    }
    if sys.platform != "win32":  # where the paths would be too long
        given["TMPDIR"] = str(making / "tmp")  # /tmp is small on many machines
    if without := no_amx():
        for name in ("CFLAGS", "CXXFLAGS"):
            given[name] = f"{said.get(name, '')} {without}".strip()
    return said | given


def no_amx() -> str:
    """What keeps a compiler from AMX, where the processor has it: gcc before 15 leaves out most of
    what configures the tiles, and the first of them is an illegal instruction."""
    try:
        has = " amx_tile" in Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        has = False
    return "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16" if has else ""


def run(
    command: list[str],
    folder: Path,
    report: Report,
    cancelled: Callable[[], bool],
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a command, follow what it says, and tell the steps of the compiler."""
    log = folder / "build.log"
    with log.open("ab") as out, log.open(encoding="utf-8", errors="replace") as lines:
        with child(command, env, out.fileno()) as process:
            while process.poll() is None:
                if cancelled():
                    raise NotBuilt(CANCELLED)
                for done, of in steps(lines):
                    report(0.05 + 0.9 * done / of, f"Compiling, step {done} of {of}")
                time.sleep(0.1)
        if process.returncode:
            said = log.read_text("utf-8", "replace")
            raise NotBuilt(reason(said, log), tail(said))


def steps(lines: Iterator[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        if found := STEP.match(line):
            done, of, percent = found.groups()
            yield (int(percent), 100) if percent else (int(done), max(1, int(of)))


def reason(said: str, log: Path) -> str:
    """Why it failed, and what to do."""
    if AWAY.search(said) and not any(map(STEP.match, said.split("\n"))):
        return NO_INDEX
    for pattern, sentence in REASONS:
        if re.search(pattern, said):
            return sentence
    first = f" Its first error: {error[:300].rstrip('.')}." if (error := first_error(said)) else ""
    return (
        f"The compiler failed.{first} Often the compiler, or a package that it needs, is too old: "
        f"update it, then try again. All that it said is in {log}."
    )


def first_error(said: str) -> str:
    """The compiler's own, also where cmake tells it as a part of its own; after a line of cmake's,
    which tells only where it is, also the one that says what."""
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    if found := next(filter(COMPILERS.search, filter(TELLING.search, lines)), ""):
        return found
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if TELLING.search(line):
            return f"{line} {following}" if line.startswith("CMake Error") else line
    return ""


def tail(said: str) -> str:
    """The lines that are shown: from the first that tells of an error on, else the last."""
    lines = said.rstrip().split("\n")
    telling = [n for n, line in enumerate(lines) if TELLING.search(line)]
    away = [n for n, line in enumerate(lines) if AWAY.search(line)]
    at = [*telling, *away, len(lines) - WORDS + BEFORE][0]
    begin = max(0, at - BEFORE)
    return "\n".join(line[:200] for line in lines[begin : begin + WORDS])


def main(environments: str, variant: str = "native") -> int:
    """Build in a terminal; 0 when the wheel is there."""
    last = ""

    def say(fraction: float, note: str) -> None:
        nonlocal last
        line = f"{fraction:4.0%}  {note}"
        if line[:4] != last[:4]:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        last = line

    try:
        sys.stdout.write(f"{build(Path(environments).resolve(), variant, say, lambda: False)}\n")
    except NotBuilt as error:
        sys.stderr.write(f"The native engine was not built. {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
