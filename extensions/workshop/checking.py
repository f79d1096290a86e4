"""Runs the suite that every extension must pass, in a process of its own, and an author's tests."""

import asyncio
import os
import sys
from pathlib import Path

from kernel.api import Refused

ROOT = Path(__file__).resolve().parents[2]
NONE = 5
"""What pytest ends with where it found no tests."""
SUITE = """
import asyncio, sys, warnings
from pathlib import Path
from kernel.testing.conformance import CHECKS, keeps

async def examine(folder):
    failed = 0
    for name, check in CHECKS.items():
        says = " ".join((check.__doc__ or name).split("\\n\\n")[0].split())
        try:
            await keeps(folder, name)
            print(f"  ok    {says}", flush=True)
        except Exception as problem:
            failed += 1
            why = problem if isinstance(problem, AssertionError) else repr(problem)
            print(f"  FAIL  {says}\\n        {why}", flush=True)
    return failed

sys.exit(min(1, asyncio.run(examine(Path(sys.argv[1])))))
"""


async def check(folder: Path) -> bool:
    """Examine an extension in its folder; says on the terminal what it finds, and whether all is
    well."""
    if not (folder / "extension.toml").is_file():
        raise Refused(
            f"{folder} has no extension.toml. Give the folder of an extension, or an id; of one in "
            "another data folder with --data-dir FOLDER."
        )
    return await _run("-c", SUITE, str(folder)) == 0


async def tests(folder: Path) -> bool:
    """Run its own tests where pytest is at hand; says how to get it where not."""
    scope = "asyncio_default_fixture_loop_scope=function"
    flags = ("-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-o", scope)
    python = next((p for p in (sys.executable, *_others()) if _has_pytest(Path(p))), "")
    if not python:
        sys.stdout.write(
            "Its tests did not run: python -m tests --only ruff makes what they need.\n"
        )
        return True
    command = ("-m", "pytest", "-c", os.devnull, "--import-mode=importlib", *flags, "--rootdir")
    command = (*command, str(folder), str(folder))
    if (status := await _run(*command, python=python)) == NONE:
        sys.stdout.write("It has no tests of its own yet.\n")
    return status in (0, NONE)


def _others() -> list[str]:
    places = (ROOT / ".venv-tests" / "bin" / "python", ROOT / ".venv-tests/Scripts/python.exe")
    return [str(place) for place in places if place.exists()]


def _has_pytest(python: Path) -> bool:
    root = python.parent.parent
    return any(root.glob("lib*/python*/site-packages/pytest")) or any(
        root.glob("Lib/site-packages/pytest")
    )


async def _run(*words: str, python: str = sys.executable) -> int:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    child = await asyncio.create_subprocess_exec(python, "-P", *words, env=env, cwd=ROOT)
    try:
        return await child.wait()
    except BaseException:
        child.kill()
        await child.wait()
        raise
