"""Building the native engine, with a package that only pretends to be compiled."""

import asyncio
import gc
import io
import os
import re
import shutil
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pip
import pytest

from extensions.llama_cpp import building, children
from extensions.llama_cpp.honoured import HONOURED
from extensions.llama_cpp.prebuilt_sampling import HONOURED as PREBUILT
from kernel import environments
from kernel.api import LOADERS
from kernel.environments import BASE, python_of
from kernel.testing import App, running
from tests.processes import alive
from tests.test_environments import QUICK
from tests.wheels import make_wheel

BACKEND = '''
"""Pretends to compile, and writes a wheel."""
import os, pathlib, subprocess, sys, time, zipfile

def _requires(settings=None):
    return []

get_requires_for_build_wheel = _requires

def prepare_metadata_for_build_wheel(folder, settings=None):
    info = pathlib.Path(folder) / "llama_cpp_python-0.3.36.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\\nName: llama_cpp_python\\nVersion: 0.3.36\\n")
    (info / "WHEEL").write_text(
        "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    return info.name

def build_wheel(folder, settings=None, metadata=None):
    do = os.environ.get("PRETEND", "")
    for step in range(1, 4):
        print(f"  [{step}/3] c++ -O3 -c part{step}.cpp", flush=True)
        time.sleep(0.15)
        gate = os.environ.get("PRETEND_GATE", "")
        while step == 2 and gate and not os.path.exists(gate):
            time.sleep(0.02)
        if step == 2 and do:
            if do == "hang":
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
                pathlib.Path(os.environ["PRETEND_PID"]).write_text(str(child.pid))
                time.sleep(60)
            print(do, flush=True)
            sys.exit(1)
    name = "llama_cpp_python-0.3.36-py3-none-any.whl"
    info = "llama_cpp_python-0.3.36.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        said = {k: os.environ.get(k) for k in ("CMAKE_ARGS", "CXXFLAGS", "TMPDIR")}
        wheel.writestr("llama_cpp/__init__.py", f"built = {said!r}\\n")
        wheel.writestr(f"{info}/METADATA",
            "Metadata-Version: 2.1\\nName: llama_cpp_python\\nVersion: 0.3.36\\n")
        wheel.writestr(f"{info}/WHEEL",
            "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
'''
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds the pretended package and the environment's others, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    files = {"pyproject.toml": PROJECT, "backend.py": BACKEND}
    files["PKG-INFO"] = "Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.36\n"
    with tarfile.open(folder / "llama_cpp_python-0.3.36.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"llama_cpp_python-0.3.36/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    for requirement in (*BASE, "xllamacpp==2026.10.11549", "numpy==2.4.6"):
        make_wheel(folder, *requirement.split("=="))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "CXXFLAGS", "CMAKE_ARGS", "PRETEND"):
        monkeypatch.delenv(name, raising=False)

    def venv(folder: Path) -> list[str]:  # borrows the tests' pip: ensurepip takes seconds
        return [sys.executable, "-c", QUICK, str(folder), str(Path(pip.__file__).parent)]

    monkeypatch.setattr(building, "venv", venv)
    monkeypatch.setattr(environments, "_venv", venv)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return folder


def never() -> bool:
    return False


def quiet(fraction: float, note: str) -> None:
    """Take no notice."""


def test_the_package_is_the_one_of_the_manifest():
    manifest = Path(building.__file__).with_name("extension.toml").read_text("utf-8")
    assert manifest.count(f'"{building.PACKAGE}"') == len(building.BACKENDS)
    for each in building.BACKENDS:
        assert f"[worker.variants.{each.variant}]" in manifest


def test_a_wheel_is_built_with_its_steps_and_kept(source: Path, tmp_path: Path):
    told: list[tuple[float, str]] = []
    root = tmp_path / "environments"
    made = building.build(root, "native-rpc", lambda *said: told.append(said), never)
    assert made == root / "wheels/xllamacpp-native-rpc/llama_cpp_python-0.3.36-py3-none-any.whl"
    notes = [note for _, note in told]
    assert "Downloading the source (77 MB)" in notes
    assert {"Compiling, step 1 of 3", "Compiling, step 2 of 3"} <= set(notes)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert sorted(each.name for each in made.parent.iterdir()) == [
        "build.log", made.name, "processor",
    ]  # fmt: skip
    (source / "llama_cpp_python-0.3.36.tar.gz").unlink()
    assert building.build(root, "native-rpc", quiet, never) == made, "it is there"


def test_flags_reach_cmake_and_the_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CMAKE_ARGS", "-DMINE=ON")
    monkeypatch.setenv("CXXFLAGS", "-O2")
    monkeypatch.setattr(building, "no_amx", lambda: "-mno-amx-tile")
    given = building.variables(building.backend("native-cuda"), tmp_path)
    assert given["CMAKE_ARGS"] == "-DGGML_CUDA=ON -DMINE=ON"
    assert (given["CFLAGS"], given["CXXFLAGS"]) == ("-mno-amx-tile", "-O2 -mno-amx-tile")
    assert given["TMPDIR"] == str(tmp_path / "tmp")
    assert given["PATH"] == os.environ["PATH"]


def test_a_wheel_for_another_processor_is_not_used(tmp_path: Path):
    folder = building.folder_of(tmp_path, "native")
    folder.mkdir(parents=True)
    made = folder / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
    made.touch()
    assert building.wheel(tmp_path, "native") is None, "nobody says what it was made for"
    (folder / "processor").write_text(building.processor())
    assert building.wheel(tmp_path, "native") == made
    (folder / "processor").write_text("another")
    assert building.wheel(tmp_path, "native") is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "CMake Error: CMAKE_CXX_COMPILER not set, after EnableLanguage",
            r"sudo apt install g\+\+",
        ),
        ("c++: fatal error: No space left on device", "disk is full: free some space"),
        ("WARNING: Retrying (Retry(total=4)) after NewConnectionError", "check the network"),
        ("CMake Error: Failed to find nvcc.", "nvidia-cuda-toolkit"),
        ("Could NOT find Vulkan (missing: Vulkan_LIBRARY)", "libvulkan-dev"),
        (
            'CMake Error in cuda/CMakeLists.txt:\n  CUDA_ARCHITECTURES is set to "native", but no '
            "GPU was detected.",
            "No graphics card of NVIDIA answers here",
        ),
        ("c++: fatal error: Killed signal terminated program cc1plus", "memory did not suffice"),
        (
            "Retrying (once)\n[1/3] c++\npart2.cpp:7:1: error: no such thing",
            r"compiler failed\. Its first error: part2",
        ),
        (
            "CMake Error at CMakeTestCXXCompiler.cmake:63 (message):\n  The C++ compiler\n\n"
            "  is not able to compile a simple test program.\n\n"
            "      <command-line>: fatal error: /no/header.h: No such file\n"
            "error: subprocess-exited-with-error",
            r"Its first error: <command-line>: fatal error: /no/header\.h: No such file",
        ),
        (
            "part2.cpp:7:1: error: no such thing",
            r"part2\.cpp:7:1: error: no such thing\. .*try again\. All .* in build\.log",
        ),
    ],
)
def test_why_it_was_not_built(said: str, told: str):
    for more in (2, 500):
        log = "step\n" * 90 + f"{said}\n" + "more\n" * more
        assert re.search(told, building.reason(log, Path("build.log")))
        shown = building.tail(log).split("\n")
        assert said.split("\n")[0] in shown[: building.BEFORE + 1], "without scrolling"
        assert len(shown) <= building.WORDS


def test_what_cmake_does_without_is_no_error():
    log = "-- Could NOT find NCCL (missing: NCCL_LIBRARY)\n" + "step\n" * 90
    log += "CMake Error at cuda/CMakeLists.txt:178 (target_link_libraries):\n\n  No CUDA::cublas.\n"
    told = r"Its first error: CMake Error at .*:178 \(target_link_libraries\): No CUDA::cublas\. Of"
    assert re.search(told, building.reason(log, Path("build.log")))
    assert "NCCL" not in building.tail(log)


def test_what_failed_leaves_its_log_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PRETEND", "part2.cpp:7:1: error: no such thing")
    with pytest.raises(building.NotBuilt, match="no such thing") as failed:
        building.build(tmp_path, "native", quiet, never)
    assert "[2/3] c++ -O3 -c part2.cpp" in failed.value.log
    assert building.wheel(tmp_path, "native") is None
    folder = tmp_path / "wheels/xllamacpp-native"
    assert [each.name for each in folder.iterdir()] == ["build.log"]


def test_what_is_missing_is_told_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(building, "run", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(building.NotBuilt, match=r"no C\+\+ compiler\. .*sudo apt install g\+\+"):
        building.build(tmp_path, "native", quiet, never)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "nvcc" else name)
    with pytest.raises(building.NotBuilt, match=r"nvcc is missing.*nvidia-cuda-toolkit"):
        building.build(tmp_path, "native-cuda", quiet, never)
    monkeypatch.setattr(building, "NEEDS", 1 << 62)
    with pytest.raises(building.NotBuilt, match="1 GB of the disk"):
        building.build(tmp_path, "native", quiet, never)
    with pytest.raises(building.NotBuilt, match="no variant best to build"):
        building.build(tmp_path, "best", quiet, never)


def test_cancel_ends_the_compilers_too(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pid = tmp_path / "pid"
    monkeypatch.setenv("PRETEND", "hang")
    monkeypatch.setenv("PRETEND_PID", str(pid))
    with pytest.raises(building.NotBuilt, match="cancelled"):
        building.build(tmp_path, "native", quiet, lambda: pid.exists() and bool(pid.read_text()))
    until = time.monotonic() + 10
    while alive(int(pid.read_text())):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert not (tmp_path / "wheels/xllamacpp-native/making").exists()


NINJA = """
import os, pathlib, signal, subprocess, sys, time
nap = [sys.executable, "-c", "import time; time.sleep(60)"]
compiler = subprocess.Popen(nap, start_new_session=True)
def end(*_):
    if "deaf" not in sys.argv:
        os.killpg(compiler.pid, 9)
        sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {compiler.pid}")
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
@pytest.mark.parametrize("how", ["ninja", "deaf"])
def test_compilers_in_groups_of_their_own_are_ended_by_what_started_them(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As ninja does; what does not listen is killed."""
    monkeypatch.setattr(children, "PATIENCE", 10 if how == "ninja" else 0.2)
    said, until = tmp_path / "pids", time.monotonic() + 10
    with children.child([sys.executable, "-c", NINJA, str(said), how], None, 2):
        while not (said.exists() and said.read_text()):
            assert time.monotonic() < until
            time.sleep(0.01)
    ninja, compiler = map(int, said.read_text().split())
    assert not alive(ninja)
    assert alive(compiler) == (how == "deaf")
    if how == "deaf":
        os.kill(compiler, 9)


def test_two_builds_are_made_one_after_the_other(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One that is begun as another is cancelled would lose its folder to it."""
    monkeypatch.setenv("PRETEND_GATE", str(gate := tmp_path / "gate"))
    stop, compiling = threading.Event(), threading.Event()

    def heard(fraction: float, note: str) -> None:
        if note.startswith("Compiling"):
            compiling.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(building.build, tmp_path, "native", heard, stop.is_set)
        assert compiling.wait(60)
        second = pool.submit(building.build, tmp_path, "native", quiet, never)
        with pytest.raises(building.NotBuilt, match="cancelled"):
            building.build(tmp_path, "native", quiet, lambda: True)
        stop.set()
        gate.touch()
        with pytest.raises(building.NotBuilt, match="cancelled"):
            first.result(60)
        assert second.result(60).is_file()


def test_amx_is_left_out_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch):
    for flags, expected in (("sse avx512f amx_tile amx_int8", True), ("sse avx2", False)):
        monkeypatch.setattr(Path, "read_text", lambda *_, flags=flags: f"flags : {flags}\n")
        assert bool(building.no_amx()) == expected


# --- in the page ------------------------------------------------------------------------


async def opened(app: App):
    page = app.page("/settings/llama_cpp")
    await app.web.snapshot(page.client)
    page.client.near = True
    await page.until("Build the native engine")
    return page


async def test_one_button_builds_it_and_the_next_load_uses_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PRETEND_GATE", str(gate := tmp_path / "gate"))
    async with running("settings", "llama_cpp", "engine_kit") as app:
        page = await opened(app)
        loader: Any = app.extension("llama_cpp").get(LOADERS)[0]
        assert loader.samplers == PREBUILT
        assert "about seven minutes" in page.html
        assert "77 MB" in page.html
        await page.act("llama_cpp.build", variant="native")
        await page.until("Compiling, step 2 of 3", 60)
        await page.act("llama_cpp.build", variant="native")
        await page.until("is being built already")
        gate.touch()
        await page.until(r"Native, built for the processor.*Use it", 60)
        assert app.kernel.settings.variant("llama_cpp") == "native"
        assert loader.samplers == HONOURED
        root = app.kernel.workers.root
        code = "import llama_cpp, xllamacpp, numpy; print(llama_cpp.built)"
        python = python_of(root / "xllamacpp-native")
        process = await asyncio.create_subprocess_exec(
            python, "-I", "-c", code, stdout=asyncio.subprocess.PIPE
        )
        assert b"TMPDIR" in (await process.communicate())[0]
        page.html = ""
        await page.act("llama_cpp.use", variant="")
        await page.until(r"In use</dt>\s*<dd>Prebuilt")
        assert app.kernel.settings.variant("llama_cpp") == ""
        assert loader.samplers == PREBUILT, "of the engine in use, not of what is built"
        assert "Build" not in loader.note
        await page.act("llama_cpp.use", variant="native-cuda")
        await page.until("not built. Build it first")


@pytest.mark.long
async def test_a_failure_shows_why_and_the_log(source: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PRETEND", "part2.cpp:7:1: error: no <such> thing")
    async with running("settings", "llama_cpp", "engine_kit") as app:
        page = await opened(app)
        await page.act("llama_cpp.build")
        await page.until(r'role="alert">\s*<p>The compiler failed\. Its first error: part2', 60)
        await page.until(r"What the compiler said.*no &lt;such&gt; thing")
        assert app.kernel.settings.variant("llama_cpp") == ""
        assert app.kernel.trouble == {}, "the extension did nothing wrong"


@pytest.mark.long
async def test_cancel_in_the_page(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    pid = tmp_path / "pid"
    monkeypatch.setenv("PRETEND", "hang")
    monkeypatch.setenv("PRETEND_PID", str(pid))
    async with running("settings", "llama_cpp", "engine_kit") as app:
        page = await opened(app)
        await page.act("llama_cpp.build")
        await app.until(lambda: pid.exists() and bool(pid.read_text()), 60)
        page.html = ""
        await page.act("llama_cpp.stop")
        await page.until("Building was cancelled.*Build the native engine")
        await app.until(lambda: not alive(int(pid.read_text())))
        assert app.kernel.jobs.running == {}
    gc.collect()
    assert caplog.text == "", "nobody waits for how it ended"


async def test_only_a_page_on_this_machine_builds(source: Path):
    async with running("settings", "llama_cpp", "engine_kit") as app:
        page = await opened(app)
        page.client.near = False
        await page.act("llama_cpp.build")
        await page.until("only in a browser there")
        assert app.kernel.jobs.running == {}


@pytest.mark.long
async def test_a_chosen_engine_that_is_not_there_is_built_by_the_load(
    source: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = {"llama_cpp": {"variant": "native-rpc"}}
    async with running("llama_cpp", "engine_kit", settings=settings) as app:
        notes: list[str] = []
        loader = app.extension("llama_cpp").get(LOADERS)[0]
        await loader.install(lambda fraction, note: notes.append(note))  # type: ignore[attr-defined]
        assert any("Building llama.cpp: Compiling, step" in note for note in notes)
        assert await loader.missing() is None  # type: ignore[attr-defined]
