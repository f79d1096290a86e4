"""What people paste, a name, a link or a whole command, as the address of a repository."""

import re
from urllib.parse import unquote, urlsplit

from kernel.api import Refused, Struct

from .plan import HUB

HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com", "www.hf-mirror.com")
"""Where a path is `user/model`; the address that the settings name is another."""
MIRRORS = {"hf-mirror.com": "https://hf-mirror.com", "www.hf-mirror.com": "https://hf-mirror.com"}
VIEWS = ("tree", "blob", "resolve", "raw", "blame", "commits", "commit")
"""What follows a repository's name in a link, with a revision behind it."""
OTHERS = {"datasets": "a data set", "spaces": "a space", "papers": "a paper", "blog": "an article",
          "docs": "a page of the manual", "collections": "a collection", "posts": "a post",
          "models": "a list of models"}  # fmt: skip
COMMAND = re.compile(
    r"(?:git\s+(?:lfs\s+)?clone|ollama\s+(?:run|pull)|(?:hf|huggingface-cli)\s+download"
    r"|(?:python3?\s+)?download-model\.py|(?:\S*llama-(?:server|cli)|llama)\s.*?-hf(?:-repo)?)\s+"
)
QUOTED = re.compile(r"from_pretrained\(\s*[\"']([^\"']+)[\"']")
PART = r"[A-Za-z0-9](?:[\w.-]{0,95})"
NAME = re.compile(rf"({PART})/({PART})", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9](?:[\w./-]{0,199})", re.ASCII)
QUANTIZATION = re.compile(r"(?:UD-)?(?:I?Q\d|TQ\d|F16|BF16|F32|MXFP4|FP16)\w*", re.IGNORECASE)
LONGEST = 2000
EXAMPLE = "Write user/model, user/model:branch, or paste the address of its page."


class Address(Struct, frozen=True):
    """A repository, and what of it was meant."""

    repo: str
    """`user/name`, or the single name of one of the hub's oldest models."""
    revision: str = "main"
    path: str = ""
    """A file of it, or a folder; "" for all."""
    quantization: str = ""
    """As `Q4_K_M`, where a command named it."""
    endpoint: str = ""
    """A mirror that the link leads to; "" for the one of the settings."""


def address_of(text: str, endpoint: str = HUB) -> Address:
    """The address in a text; raises Refused with what to write instead."""
    text = _unwrapped(text)
    if not text or len(text) > LONGEST:
        raise Refused(f"There is no model in this. {EXAMPLE}")
    if "://" in text or text.lower().startswith((*(f"{host}/" for host in HOSTS), "hf.co:")):
        return _linked(text, endpoint)
    return _named(text)


def looks_like_one(text: str) -> bool:
    """Whether a text is meant as an address, and not as words to search for."""
    text = _unwrapped(text)
    return "://" in text or text.lower().startswith(HOSTS) or bool(re.match(r"\S+/\S+$", text))


def _unwrapped(text: str) -> str:
    """Without the command around it, and what follows."""
    text = text.strip()
    if found := QUOTED.search(text):
        return found[1]
    if found := COMMAND.match(text):
        words = text[found.end() :].split()
        text = next((w for w in words if "/" in w and not w.startswith("-")), "")
    return text.strip("\"'<>`,; \t\r\n")


def _linked(text: str, endpoint: str) -> Address:
    """A link, with or without `https://`."""
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise Refused(f"This is no address that can be read. {EXAMPLE}") from None
    if parts.scheme == "hf":  # hf://user/model/file
        return _named(f"{parts.netloc}{parts.path}")
    own = urlsplit(endpoint)
    there = (host, port) == ((own.hostname or "").lower(), own.port)
    if parts.scheme not in ("http", "https") or (host not in HOSTS and not there):
        raise Refused(
            f"Models are fetched from {own.hostname} and its mirrors, not from {host or 'there'}. "
            "Put a file from elsewhere into the models folder yourself, or name a mirror in the "
            "downloader's settings."
        )
    path = parts.path
    if there and own.path.strip("/"):  # a mirror below a path
        path = path.removeprefix("/" + own.path.strip("/"))
    mirror = "" if there else MIRRORS.get(host, "")
    return _placed([unquote(part) for part in path.split("/") if part], mirror)


def _placed(parts: list[str], mirror: str) -> Address:
    """The path of a link: the repository, then what of it."""
    if parts and parts[:2] == ["api", "models"]:
        parts = parts[2:]
    if parts and (other := OTHERS.get(parts[0])):
        raise Refused(f"This is {other}, not a model. {EXAMPLE}")
    view = next((n for n, part in enumerate(parts) if part in VIEWS and n in (1, 2)), None)
    name, rest = (parts[:2], parts[2:]) if view is None else (parts[:view], parts[view + 1 :])
    if not name:
        raise Refused(f"This address names no model. {EXAMPLE}")
    if view is None:  # hf.co/user/model:Q4_K_M; what may follow, as discussions/3, is no file
        found = _named("/".join(name), alone=True)
        return Address(found.repo, found.revision, "", found.quantization, mirror)
    if rest[:1] == ["refs"]:
        revision, rest = "/".join(rest[:3]), rest[3:]
    else:
        revision, rest = (rest[0] if rest else "main"), rest[1:]
    return Address(
        _repo("/".join(name), alone=True), _revision(revision), "/".join(rest), "", mirror
    )


def _named(text: str, *, alone: bool = False) -> Address:
    """`user/model`, `user/model:branch`, `user/model@branch`, `user/model/file`."""
    name, _, wish = text.strip("/").partition(":")
    if not wish and "@" in name:
        name, _, wish = name.partition("@")
    parts = name.split("/")
    repo, path = _repo("/".join(parts[:2]), alone=alone), "/".join(parts[2:])
    if QUANTIZATION.fullmatch(wish):
        return Address(repo, path=path, quantization=wish.upper())
    return Address(repo, _revision(wish or "main"), path)


def _repo(name: str, *, alone: bool) -> str:
    """The name of a repository; `alone`: it may lack a user, as gpt2 does."""
    fits = NAME.fullmatch(name) or (alone and re.fullmatch(PART, name, re.ASCII))
    if not fits or ".." in name or "--" in name or name.endswith((".git", ".", "-")):
        if name.endswith(".git"):
            return _repo(name.removesuffix(".git"), alone=alone)
        raise Refused(f"“{ascii(name[:80])[1:-1]}” is no name of a model. {EXAMPLE}")
    return name


def _revision(text: str) -> str:
    if not REVISION.fullmatch(text) or ".." in text or "//" in text or text.endswith("/"):
        raise Refused(
            f"“{ascii(text[:80])[1:-1]}” is no name of a branch. Letters, digits and . _ - / are "
            "allowed; leave it out for the main one."
        )
    return text
