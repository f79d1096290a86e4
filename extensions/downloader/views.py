"""What the templates of finding show, in words."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from kernel.api import Refused

from .addresses import Address
from .choosing import Choice, is_kept, is_weights, missing_parts
from .fitting import Room, advised, fits, largest, need
from .looks import Look
from .plan import HUB, Found, Item, Plan
from .planning import Places, found_here, is_here, is_safe, plain, plan_of
from .quantizations import ALL
from .starters import Starter

PLAIN = re.compile(r"[\w./+()\[\] -]*[\w)\]]")
"""A file's name that can stand in a page's path; of another one the repository alone is shown."""
ROWS = 300
"""Files of a repository that are listed."""
FITS = {"card": "fits the graphics card", "memory": "fits", "not": "too large for this machine"}
PICKLE = (
    "Files of this kind can hold programs, so they are never loaded as they are: the Model page "
    "converts them to safetensors first. Where the same model is to be had as safetensors or GGUF, "
    "take that."
)


def at(address: Address) -> str:
    """An address as a page's path has it, which `address_of` reads as the same."""
    alone = "" if "/" in address.repo else HUB
    host = (address.endpoint or alone).partition("://")[2]
    path = address.path if PLAIN.fullmatch(address.path) and ".." not in address.path else ""
    name = f"{address.repo}/{path}" if path else address.repo
    if host and path:
        name = f"{address.repo}/resolve/{address.revision}/{path}"
    elif wish := address.quantization or address.revision.removeprefix("main"):
        name += f":{wish}"
    return quote(f"{host}/{name}" if host else name, safe="/:")


def link(address: Address) -> str:
    return f"/models/downloader/{at(address)}"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if count < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def many(count: int) -> str:
    """A large number for people: 12k, 3.4M."""
    for unit in ("", "k", "M", "B"):
        if count < 999.5 or unit == "B":
            return f"{count:.0f}{unit}" if count >= 10 or not unit else f"{count:.1f}{unit}"
        count /= 1000  # type: ignore[assignment]
    return ""


def fit(weights: int, room: Room) -> dict[str, str]:
    """Whether it fits, and what it takes."""
    how = fits(weights, room)
    return {
        "fits": how,
        "fit": FITS.get(how, ""),
        "takes": f"about {size(need(weights))} while it is loaded" if how else "",
    }


def result(found: Found, room: Room) -> dict[str, Any]:
    """A row of a search."""
    bits = largest(found.parameters, room)
    label = next((name for name, each, _ in ALL if each <= bits), "") if bits else ""
    says = ""
    if found.parameters:
        says = f"fits at {label} or smaller" if label else "too large for this machine"
        if bits >= 8:
            says = "fits"
    return {
        "repo": plain(found.repo),
        "link": link(Address(found.repo)),
        "downloads": many(found.downloads),
        "likes": many(found.likes),
        "changed": found.changed,
        "gated": found.gated,
        "parameters": many(found.parameters) if found.parameters else "",
        "form": "GGUF" if "gguf" in found.tags else "safetensors" if "safetensors" in found.tags
        else "",
        "fit": says,
        "fits": ("memory" if bits else "not") if found.parameters else "",
    }  # fmt: skip


def starter(entry: Starter, room: Room, places: Places) -> dict[str, Any]:
    """A row of the list of small models."""
    name = entry.file.rpartition("/")[2]
    here = is_safe(name) and (places.models / name).is_file()
    return {
        "name": entry.name,
        "repo": entry.repo,
        "file": entry.file,
        "link": link(Address(entry.repo)),
        "size": entry.size,
        "licence": entry.licence,
        "says": entry.says,
        "here": here,
        **fit(entry.bytes, room),
    }


def repository(
    look: Look, room: Room, places: Places, endpoint: str, under_way: Sequence[Plan]
) -> dict[str, Any]:
    """A repository with its forms and files. Blocks: it looks at what is here already."""
    address, found = look.address, look.repository
    view: dict[str, Any] = {
        "name": address.repo,
        "address": at(address),
        "revision": "" if address.revision == "main" else address.revision,
        "asking": look.asking,
        "trouble": look.trouble,
        "page": f"{address.endpoint or endpoint or HUB}/{address.repo}",
        "host": (address.endpoint or endpoint or HUB).partition("://")[2],
    }
    if not found:
        return view
    meant, path = _meant(look), address.path
    best = meant or advised(look.choices, room)
    forms = sorted(look.choices, key=lambda each: each is not best)
    items = sorted(found.items, key=lambda item: item.path != path)
    there = any(_lies_at(path, item.path) for item in items)
    return view | {
        "gated": found.gated,
        "licence": plain(found.licence),
        "base": [{"name": plain(name), "link": link(Address(name))} for name in found.base[:5]],
        "downloads": many(found.downloads),
        "parameters": many(found.parameters) if found.parameters else "",
        "choices": [
            _choice(look, each, room, places)
            | {"best": each is best, "under_way": _fetched(each, address, under_way)}
            for each in forms
        ],
        "meant": bool(meant),
        "ticked": path if there and not meant and items[0].path == path else "",
        "lacks": "" if meant or there else plain(path or address.quantization),
        "files": [_file(look, item, places) for item in items[:ROWS]],
        "more": max(0, len(found.items) - ROWS),
        "all": len(found.items),
    }


def _meant(look: Look) -> Choice | None:
    """The form that the address itself named: a quantization, its weights, or their folder."""
    path, quantization = look.address.path, look.address.quantization
    if quantization:
        named = (each for each in look.choices if each.quantization.name == quantization)
        return next(named, None)
    found = [
        choice
        for choice in look.choices
        if any(is_weights(item.path) and _lies_at(path, item.path) for item in choice.items)
    ]
    return found[0] if len(found) == 1 else None


def _lies_at(place: str, path: str) -> bool:
    """Whether a file is the one that is named, or in the folder that is."""
    return bool(place) and (path == place or path.startswith(f"{place}/"))


def _fetched(choice: Choice, address: Address, under_way: Sequence[Plan]) -> bool:
    """Whether it is on its way."""
    urls = {item.url for item in choice.items}
    plans = (plan for plan in under_way if plan.repo == address.repo)
    return any(urls <= {item.url for item in plan.items} for plan in plans)


def _choice(look: Look, choice: Choice, room: Room, places: Places) -> dict[str, Any]:
    assert look.repository
    warning = PICKLE if choice.form == "pickle" else ""
    here: dict[str, bool] = {}
    try:
        here = found_here(plan_of(look.repository, choice, places), places)
    except Refused as refusal:
        warning = str(refusal)
    if missing_parts(choice):
        warning = "A part of it is missing on the hub. Look again later, or take another."
    label = choice.quantization.name or ("" if choice.form != "gguf" else choice.id)
    kinds = {"gguf": "GGUF", "safetensors": "safetensors", "pickle": "pickled files"}
    return {
        "id": choice.id,
        "label": plain(label) or kinds[choice.form],
        "form": kinds[choice.form],
        "files": len(choice.items),
        "name": plain(choice.items[0].path)
        if choice.form == "gguf" or len(choice.items) == 1 else "",
        "size": size(choice.size),
        "says": "An adapter (LoRA): it changes the model it was made for, and goes to loras/."
        if choice.lora else choice.quantization.says,
        "lora": choice.lora,
        "here": bool(here) and all(here.values()),
        "some": sum(here.values()),
        "eyes": size(choice.eyes[0].size) if choice.eyes else "",
        "warning": warning,
        "blocked": bool(warning) and choice.form != "pickle",
        **_fit(choice, room),
    }  # fmt: skip


def _fit(choice: Choice, room: Room) -> dict[str, str]:
    """Whether it fits, of what is loaded as it comes."""
    if choice.form == "pickle":
        return {"fits": "", "fit": "to be converted before it can be loaded", "takes": ""}
    return {"fits": "", "fit": "", "takes": ""} if choice.lora else fit(choice.weights, room)


def _file(look: Look, item: Item, places: Places) -> dict[str, Any]:
    assert look.repository
    safe = is_safe(item.path)
    here = safe and is_here(look.repository, item, places)
    return {
        "path": item.path,
        "shown": plain(item.path),
        "size": size(item.size),
        "kept": safe and is_kept(item.path),
        "here": here,
    }
