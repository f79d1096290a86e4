"""Write the lock files: `python -m tools.lock` all of them, `python -m tools.lock torch` one.

A lock is what pip chose for the direct requirements, in a fresh environment: those of the server
and of the tests stand in pyproject.toml, an engine's in the [worker] tables that share its name.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from kernel.environments import BASE, Environment, build, lock_for

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = ROOT / "extensions"
TOOLS = ("pip", "setuptools", "wheel")
"""What pip freeze leaves out, too."""


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
                full = tuple(dict.fromkeys((*needs, *table.get("python", ()))))
                if all(set(full) != set(env.requirements) for env in found.values()):
                    more = f"{name}-{variant}"  # what only is another build of it is left out
                    found[more] = Environment(more, full, lock_for(name, folders))
    return found


def freeze(env: Environment) -> str:
    """Tell what pip would install, without the marks of local builds; nothing is compiled."""
    with tempfile.TemporaryDirectory() as root:
        python = build(Environment("pip", ()), Path(root), lambda *_: None, lambda: False)
        command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-input"]
        command += ["--quiet", "--report", "-", *env.requirements, *BASE]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    chosen = (each["metadata"] for each in json.loads(said)["install"])
    pins = {each["name"].lower(): each["version"].partition("+")[0] for each in chosen}
    return "".join(f"{name}=={pins[name]}\n" for name in sorted(pins) if name not in TOOLS)


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
    files: dict[Path, str] = {}
    for name, env in declared().items():
        file = env.lock or home(name)
        name = files.setdefault(file, name)  # variants share the lock of what they vary
        before = wanted[name][1] if name in wanted else ()
        wanted[name] = (file, tuple(dict.fromkeys((*before, *env.requirements))))
    for name in names or wanted:
        file, requirements = wanted[name]
        print(f"{name}: {', '.join(requirements)}")
        pins = freeze(Environment(name, requirements))
        file.write_text(f"# Written by: python -m tools.lock {name}\n{pins}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
