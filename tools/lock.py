"""Write the lock files: `python -m tools.lock` all of them, `python -m tools.lock torch` one.

A lock is what pip chose for the direct requirements, in a fresh environment: those of the server
and of the tests stand in pyproject.toml, an engine's in the [worker] tables that share its name.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from kernel.environments import Environment, build, lock_for

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = ROOT / "extensions"


def declared(extensions: Path = EXTENSIONS) -> dict[str, Environment]:
    """Read every [worker] table; extensions which share an environment add to one."""
    found: dict[str, Environment] = {}
    folders = [file.parent for file in sorted(extensions.glob("*/extension.toml"))]
    for folder in folders:
        worker = tomllib.loads((folder / "extension.toml").read_text("utf-8")).get("worker")
        if worker:
            name = worker["environment"]
            others = found[name].requirements if name in found else ()
            needs = dict.fromkeys((*others, *worker.get("python", ())))
            found[name] = Environment(name, tuple(needs), lock_for(name, folders))
            for variant, table in worker.get("variants", {}).items():
                if more := table.get("python"):
                    full = f"{name}-{variant}"
                    found[full] = Environment(full, (*needs, *more), lock_for(name, folders))
    return found


def freeze(env: Environment) -> str:
    """Install the requirements somewhere and tell what came, without the marks of local builds."""
    with tempfile.TemporaryDirectory() as root:
        python = build(env, Path(root), lambda _, note: print(" ", note or "…"), lambda: False)
        command = [python, "-m", "pip", "freeze"]
        frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"\+\S+$", "", frozen, flags=re.MULTILINE).lower()


def home(name: str) -> Path:
    """Find where an environment's lock stands, or belongs: with the first that names it."""
    for manifest in sorted(EXTENSIONS.glob("*/extension.toml")):
        worker = tomllib.loads(manifest.read_text("utf-8")).get("worker", {})
        if worker.get("environment") == name:
            return manifest.parent / f"requirements-{name}.lock"
    raise SystemExit(f"No extension names the environment {name!r} in its [worker] table.")


def main(names: list[str]) -> None:
    """Write the locks of these names, or all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    server = tuple(project["project"]["dependencies"])
    wanted = {
        "server": (ROOT / "requirements.lock", server),
        "tests": (
            ROOT / "requirements-tests.lock",
            (*server, *project["dependency-groups"]["tests"]),
        ),
    }
    for name, env in declared().items():
        wanted[name] = (env.lock or home(name), env.requirements)
    for name in names or wanted:
        file, requirements = wanted[name]
        print(f"{name}: {', '.join(requirements)}")
        pins = freeze(Environment(name, requirements))
        file.write_text(f"# Written by: python -m tools.lock {name}\n{pins}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
