"""A new extension: a small one that works and has a test, to be changed into what it shall be."""

import re
import shutil
from pathlib import Path

from kernel.api import Kernel, Manifest, Refused

STARTER = Path(__file__).parent / "starter"


def draft(kernel: Kernel, name: str, into: Path) -> Path:
    """Make the folder `<into>/<name>`; raises Refused when it cannot be that."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", name):
        plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").lstrip("0123456789_")[:31]
        hint = f" Try {plain}." if re.fullmatch(r"[a-z][a-z0-9_]{1,30}", plain) else ""
        raise Refused(
            f"{name!a} cannot be a name: it takes 2 to 31 small letters, digits and underscores, "
            f"and begins with a letter.{hint}"
        )
    folder = into / name
    if name in kernel.records:
        raise Refused(f"There is an extension {name} already. Take another name.")
    if folder.exists():
        raise Refused(f"{folder} is there already. Take another name, or move it away.")
    work = into / f".{name}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        _fill(work / name, name)
        try:
            Manifest.read(work / name)
        except ValueError as error:
            raise Refused(str(error)) from None
        (work / name).rename(folder)  # complete from its first moment: a server may be looking
    except OSError as error:
        raise Refused(f"{folder} cannot be made: {error.strerror}. Give another: --into") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _fill(folder: Path, name: str) -> None:
    title = name.replace("_", " ").capitalize()
    for file in sorted(STARTER.rglob("*.txt")):
        path = folder / str(file.relative_to(STARTER)).removesuffix(".txt").replace("starter", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text("utf-8").replace("Starter Name", title).replace("starter", name)
        path.write_text(text, "utf-8")
