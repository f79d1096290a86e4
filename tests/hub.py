"""A small Hugging Face: it speaks the hub's API on loopback, and misbehaves on command.

    with serving(Hub(Repo("me/mine"))) as hub:
        hub["me/mine"].commit({"config.json": "{}", "model.gguf": 40_000_000})
        hub.misbehave("cut", "*.gguf", at=17_000_000)
        … HF_ENDPOINT=hub.address …

Large files lie at another address, as the real hub's do. `python -m tests.hub` runs one by itself.
"""

import asyncio
import fnmatch
import hashlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode

import uvicorn

from tests.chunks import as_v2, rebuilt, xorb
from tests.repositories import File, Made, Repo, Written

__all__ = ["Asked", "Fault", "File", "Hub", "Made", "Repo", "serving"]

Misdeed = Literal[
    "cut", "stall", "flip", "short", "claim", "html", "etag", "status", "whole", "slow"
]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Fault:
    """Something that goes wrong, `times` times; `on` is matched with `<place>:<repo>/<path>`, where
    the place is `api`, `resolve` (what the hub answers itself), `bytes`, or Xet's `key`, `terms`
    or `xorb`."""

    do: Misdeed
    on: str = "*"
    at: int = 0
    """cut, stall, flip: where in the file. short: how many bytes come, said truthfully. (claim says
    that more come than do, whole ignores ranges, html is a page in place of the bytes.)"""
    times: int = 1
    status: int = 503
    after: str = ""
    """status: what `Retry-After` says."""
    rate: int = 1024
    """slow: bytes a second."""


@dataclass
class Asked:
    """A request as it came, and how many bytes of a body went out."""

    place: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    sent: int = 0


@dataclass
class Hub:
    """What is there, who may see it, what goes wrong, and what was asked."""

    repos: dict[str, Repo] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    """By token, the private and gated repositories that it opens."""
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    page: int = 1000
    """Entries in a page of a tree or a search."""
    address: str = ""
    """Of the hub; `store` is that of large files."""
    store: str = ""
    signed: dict[str, tuple[str, File]] = field(default_factory=dict)
    lie: Callable[[dict[str, Any]], object] = lambda told: None
    """Changes what Xet's server, or the hub of it, is about to say."""
    forms: tuple[str, ...] = ("v1", "v2")
    """In which Xet's server says what a file is made of."""

    def __init__(self, *repos: Repo) -> None:
        self.begin_anew()
        self.repos = {repo.id: repo for repo in repos}

    def begin_anew(self) -> None:
        """Forget all but the ports."""
        self.repos, self.tokens, self.faults, self.asked, self.signed = {}, {}, [], [], {}
        self.forget_lies()

    def forget_lies(self) -> None:
        """Say of Xet what is true."""
        self.lie, self.forms = lambda told: None, ("v1", "v2")

    def __getitem__(self, id: str) -> Repo:
        return self.repos[id]

    def add(self, repo: Repo) -> Repo:
        """Have one more."""
        return self.repos.setdefault(repo.id, repo)

    def misbehave(self, do: Misdeed, on: str = "*", **how: Any) -> Fault:
        """Go wrong from now on; clearing `times` of the answer ends it."""
        self.faults.append(fault := Fault(do, on, **how))
        return fault

    def sent(self, path: str) -> int:
        """Bytes of this file that went out."""
        return sum(asked.sent for asked in self.asked if asked.path.endswith(path))

    def chunked(self, name: str) -> tuple[str, File] | None:
        """The file that Xet calls so, and whose it is."""
        for repo in self.repos.values():
            for files in repo.commits.values():
                for file in files.values():
                    if file.chunked and file.xet == name:
                        return repo.id, file
        return None

    def wrong(self, where: str, *deeds: str, span: range = range(0)) -> Fault | None:
        """The first fault that fits and is not used up, which it then is a little more."""
        fitting = [
            fault
            for fault in self.faults
            if fault.times > 0
            and fault.do in deeds
            and (fault.do not in ("cut", "stall", "flip") or fault.at in span)
            and any(fnmatch.fnmatchcase(where, on) for on in (fault.on, f"*:{fault.on}"))
        ]
        if not fitting:
            return None
        first = min(fitting, key=lambda fault: fault.at)
        first.times -= 1
        return first

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await Answering(self, scope, receive, send).answer()


class Answering:
    """One request, from its path to its last byte."""

    def __init__(self, hub: Hub, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.hub, self.receive, self.send = hub, receive, send
        headers = {key.decode().lower(): value.decode() for key, value in scope["headers"]}
        self.raw = scope["raw_path"].decode().partition("?")[0].strip("/")
        pairs = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
        self.filters = [value for key, value in pairs if key == "filter"]
        self.asked = Asked("hub", scope["method"], unquote(self.raw), dict(pairs), headers)
        hub.asked.append(self.asked)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        self.token = token if scheme == "Bearer" else ""

    async def answer(self) -> None:
        match self.raw.split("/"):
            case ["api", "models"]:
                await self.search()
            case ["api", "whoami-v2"]:
                known = self.token in self.hub.tokens
                await (self.json({"name": "tester"}) if known else self.no(401, "Invalid token"))
            case ["api", "models", user, name, *rest]:
                await self.about(f"{user}/{name}", [unquote(part) for part in rest])
            case ["api", "resolve-cache", "models", user, name, commit, *path]:
                await self.small(f"{user}/{name}", commit, unquote("/".join(path)))
            case ["v1" | "v2" as form, "reconstructions", name]:
                await self.terms(name, form)
            case ["xorbs", name, number]:
                await self.xorb(name, int(number))
            case ["stored", signature]:
                await self.large(signature)
            case [user, name, "resolve" | "raw" as how, revision, *path] if path:
                path = unquote("/".join(path))
                await self.resolve(f"{user}/{name}", unquote(revision), path, how)
            case _:
                await self.no(404, "Sorry, we can't find the page you are looking for.")

    # --- the API ---

    async def search(self) -> None:
        """The models whose name and tags fit, in the order that is asked for."""
        query = self.asked.query
        if fault := self.hub.wrong("api:models", "status"):
            return await self.status(fault)
        words = query.get("search", "").casefold()
        open = [repo for repo in self.hub.repos.values() if self.opens(repo)]
        found = [
            repo
            for repo in open
            if words in repo.id.casefold()
            and repo.id.startswith(query.get("author", ""))
            and {*self.filters} <= {*repo.tags, repo.pipeline}
            and query.get("pipeline_tag", repo.pipeline) == repo.pipeline
        ]
        order = {"likes": "likes", "lastModified": "changed", "createdAt": "changed"}
        by = order.get(query.get("sort", ""), "downloads")
        found.sort(key=lambda repo: getattr(repo, by), reverse=True)
        await self.paged([repo.about("main", False) for repo in found], "api/models")

    async def about(self, id: str, rest: list[str]) -> None:
        """A model at a revision, or its tree."""
        if fault := self.hub.wrong(f"api:{id}", "status"):
            return await self.status(fault)
        if not (repo := self.hub.repos.get(id)) or not self.opens(repo):
            return await self.missing()
        if rest == ["auth-check"]:
            return await (self.json({}) if self.lets_in(repo) else self.gated(id))
        revision = rest[1] if len(rest) > 1 else "main"
        if not (found := repo.at(revision)):
            return await self.no(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if rest[:1] == ["xet-read-token"]:
            return await self.key(id)
        if rest[:1] != ["tree"]:
            return await self.json(repo.about(revision, "blobs" in self.asked.query))
        folder = "/".join(rest[2:])
        entries = repo.tree(found[0], folder, self.asked.query.get("recursive") in ("True", "true"))
        if folder and not entries:
            text = f'"{folder}" does not exist on "{revision}"'
            return await self.no(404, text, "EntryNotFound")
        await self.paged(entries, self.raw)

    async def paged(self, entries: list[Any], path: str) -> None:
        """A page of them, and where the next is."""
        query = self.asked.query
        page = min(int(query.get("limit") or self.hub.page), self.hub.page)
        start = int(query.get("cursor") or 0)
        link: dict[str, str] = {}
        if start + page < len(entries):
            pairs = [(k, v) for k, v in query.items() if k not in ("cursor", "filter")]
            pairs += [("filter", each) for each in self.filters] + [("cursor", str(start + page))]
            link = {"Link": f'<{self.hub.address}/{path}?{urlencode(pairs)}>; rel="next"'}
        await self.json(entries[start : start + page], link)

    # --- files ---

    async def resolve(self, id: str, revision: str, path: str, how: str) -> None:
        """Where a file's bytes are: elsewhere, if it is a large one."""
        where = f"resolve:{id}/{path}"
        if fault := self.hub.wrong(where, "status"):
            return await self.status(fault)
        if not (repo := self.hub.repos.get(id)) or not self.opens(repo):
            return await self.missing()
        if not self.lets_in(repo):
            return await self.gated(id)
        if not (found := repo.at(revision)):
            return await self.no(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if not (file := found[1].get(path)):
            return await self.no(404, "Entry not found", "EntryNotFound")
        told = {"X-Repo-Commit": found[0], "Accept-Ranges": "bytes", "ETag": f'"{file.oid}"'}
        if how == "raw":
            data = file.pointer if file.lfs else b"".join(file.content.pieces(0, file.size))
            return await self.body(200, data, told)
        if not file.lfs:
            name = quote(path, errors="surrogatepass")
            told["Location"] = f"/api/resolve-cache/models/{id}/{found[0]}/{name}"
            return await self.body(307, b"Temporary Redirect.", told)
        signature = hashlib.sha1(f"{id} {found[0]} {path}".encode(errors="replace")).hexdigest()
        self.hub.signed[signature] = id, file
        told["Location"] = f"{self.hub.store}/stored/{signature}?Expires=1&Signature=x"
        told |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"'}
        if file.chunked:
            route = f"{self.hub.address}/api/models/{id}/xet-read-token/{found[0]}"
            told |= {"X-Xet-Hash": file.xet, "Link": f'<{route}>; rel="xet-auth"'}
        await self.body(302, b"Found. Redirecting.", told)

    async def small(self, id: str, commit: str, path: str) -> None:
        repo = self.hub.repos.get(id)
        if not repo or not self.opens(repo) or path not in repo.commits.get(commit, {}):
            return await self.missing()
        await self.ranged(id, repo.commits[commit][path], {"X-Repo-Commit": commit})

    async def large(self, signature: str) -> None:
        """From the store, which knows no tokens: a request that brings one is refused, as it is by
        the real one."""
        if "authorization" in self.asked.headers or signature not in self.hub.signed:
            return await self.no(400, "Only one auth mechanism allowed")
        id, file = self.hub.signed[signature]
        self.asked.path = f"{id}/{file.path}"
        await self.ranged(id, file, {})

    # --- Xet ---

    async def key(self, id: str) -> None:
        """Where its server is, and what opens it."""
        if fault := self.hub.wrong(f"key:{id}", "status"):
            return await self.status(fault)
        if not self.lets_in(self.hub[id]):
            return await self.gated(id)
        said = {"casUrl": self.hub.store, "accessToken": "xet_key"}
        said |= {"exp": int(time.time()) + 3600}
        self.hub.lie(said)
        await self.json(said)

    async def terms(self, name: str, form: str) -> None:
        """What a file, or a range of it, is made of."""
        if form not in self.hub.forms:
            return await self.no(404, "Not found")
        if self.asked.headers.get("authorization") != "Bearer xet_key":
            return await self.no(401, "No key")
        if not (known := self.hub.chunked(name)):
            return await self.no(404, "No such file")
        self.asked.place, (id, file) = "terms", known
        if fault := self.hub.wrong(f"terms:{id}/{file.path}", "status"):
            return await self.status(fault)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.asked.headers.get("range", ""))
        span = (int(asked[1]), int(asked[2]) + 1) if asked else (0, file.size)
        said = rebuilt(file, *span, f"{self.hub.store}/xorbs/{name}")
        self.hub.lie(said)
        await self.json(said if form == "v1" else as_v2(said))

    async def xorb(self, name: str, number: int) -> None:
        """Chunks in a row, each with its head."""
        known = self.hub.chunked(name)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.asked.headers.get("range", ""))
        if "authorization" in self.asked.headers or not known or not asked:
            return await self.no(400, "Not that way")
        self.asked.place, (id, file) = "xorb", known
        where = f"xorb:{id}/{file.path}"
        if fault := self.hub.wrong(where, "status"):
            return await self.status(fault)
        content, start = xorb(file, number), int(asked[1])
        stop = min(int(asked[2]) + 1, content.size)
        told = {"Content-Range": f"bytes {start}-{stop - 1}/{content.size}"}
        await self.head(206, {"Content-Length": str(stop - start), **told})
        await self.pour(where, content, start, stop)
        await self.send({"type": "http.response.body"})

    async def ranged(self, id: str, file: File, told: dict[str, str]) -> None:
        """The bytes that are asked for, unless something goes wrong."""
        self.asked.place, wrong = "bytes", self.hub.wrong
        where = f"bytes:{id}/{file.path}"
        etag = f'"{"0" * 40 if wrong(where, "etag") else file.etag}"'
        start, stop, code = 0, file.size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.asked.headers.get("range", ""))
        same = self.asked.headers.get("if-range", etag) == etag
        if asked and same and not wrong(where, "whole"):
            start, stop, code = int(asked[1]), min(int(asked[2] or 1 << 62) + 1, stop), 206
        if start >= stop and file.size:
            told = {"Content-Range": f"bytes */{file.size}"}
            return await self.body(416, b"", told)
        if fault := wrong(where, "status"):
            return await self.status(fault)
        if wrong(where, "html"):
            page = b"<!doctype html><title>Bad gateway</title><p>Come back later."
            return await self.body(200, page, {"Content-Type": "text/html", "ETag": etag})
        if (fault := wrong(where, "short")) and stop - start > fault.at:
            stop = start + fault.at
        length = stop - start + (1000 if wrong(where, "claim") else 0)
        told |= {"ETag": etag, "Accept-Ranges": "bytes", "Content-Length": str(length)}
        told["Content-Type"] = "application/octet-stream"
        if code == 206:
            told["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
        await self.head(code, told)
        if self.asked.method != "HEAD":
            await self.pour(where, file.content, start, stop)
        await self.send({"type": "http.response.body"})

    async def pour(self, where: str, content: Made | Written, start: int, stop: int) -> None:
        span, wrong = range(start, stop), self.hub.wrong
        flip, slow = wrong(where, "flip", span=span), wrong(where, "slow")
        cut = wrong(where, "cut", "stall", span=span)
        end, at = cut.at if cut else stop, start
        for piece in content.pieces(start, end):
            if flip and at <= flip.at < at + len(piece):
                piece = bytearray(piece)
                piece[flip.at - at] ^= 1
            for part in _parts(piece, slow.rate // 10 if slow else len(piece)):
                more = {"type": "http.response.body", "body": bytes(part), "more_body": True}
                await self.send(more)
                self.asked.sent += len(part)
                await asyncio.sleep(0.1 if slow else 0)
            at += len(piece)
        if cut and cut.do == "stall":
            while (await self.receive())["type"] != "http.disconnect":
                pass
        if cut:
            raise ConnectionError("cut, as was wished")

    # --- answers ---

    def opens(self, repo: Repo) -> bool:
        """Whether who asks may know of it."""
        return not repo.private or repo.id in self.hub.tokens.get(self.token, set())

    def lets_in(self, repo: Repo) -> bool:
        """Whether who asks may have its files."""
        return not repo.gated or repo.id in self.hub.tokens.get(self.token, set())

    async def gated(self, id: str) -> None:
        text = f"Access to model {id} is restricted. You must be authenticated to access it."
        await self.no(403 if self.token else 401, text, "GatedRepo")

    async def missing(self) -> None:
        """As the real one: who brings no token may not even know that there is nothing."""
        if self.token in self.hub.tokens:
            return await self.no(404, "Repository not found", "RepoNotFound")
        await self.no(401, "Invalid username or password.")

    async def status(self, fault: Fault) -> None:
        told = {"Retry-After": fault.after} if fault.after else {}
        await self.body(fault.status, b"<html><h1>Something is wrong</h1>", told)

    async def no(self, code: int, text: str, kind: str = "") -> None:
        told = {"X-Error-Message": text} | ({"X-Error-Code": kind} if kind else {})
        await self.json({"error": text}, told, code)

    async def json(self, value: Any, told: dict[str, str] | None = None, code: int = 200) -> None:
        data = json.dumps(value).encode()
        await self.body(code, data, {"Content-Type": "application/json", **(told or {})})

    async def body(self, code: int, data: bytes, told: dict[str, str]) -> None:
        await self.head(code, {"Content-Length": str(len(data)), **told})
        empty = self.asked.method == "HEAD"
        await self.send({"type": "http.response.body", "body": b"" if empty else data})

    async def head(self, code: int, told: dict[str, str]) -> None:
        headers = [(k.lower().encode(), v.encode("latin-1", "replace")) for k, v in told.items()]
        await self.send({"type": "http.response.start", "status": code, "headers": headers})


def _parts(piece: bytes | bytearray | memoryview, size: int) -> Iterator[memoryview]:
    view = memoryview(piece)
    return (view[at : at + size] for at in range(0, len(view), max(size, 1)))


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Answer at two ports of loopback, from a thread, until the block ends."""
    sockets = [listening(0), listening(0)]
    hub.address, hub.store = (f"http://127.0.0.1:{s.getsockname()[1]}" for s in sockets)
    with answering(hub, sockets):
        yield hub


def listening(port: int) -> socket.socket:
    """A socket of loopback; that it is TCP is said, or asyncio would not send small answers at once
    but 40 milliseconds later."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


@contextmanager
def answering(hub: Hub, sockets: list[socket.socket]) -> Iterator[None]:
    """The same at sockets that listen already: a hub that was stopped comes back where it was."""
    config = uvicorn.Config(
        hub,
        lifespan="off", ws="none", log_config=None, log_level=60, timeout_graceful_shutdown=0,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=(sockets,), name="hub")
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def main(size: int, count: int = 1) -> None:
    """Hold one model of so many bytes and files, say where, and what its hash is, until the input
    ends."""
    hub = Hub(Repo("test/large"))
    small = {f"{n % 100}/{n}.json": f"[{n}]" for n in range(count)}
    hub["test/large"].commit({**small, "large.gguf": size})
    with serving(hub):
        files = hub["test/large"].at("main")
        assert files
        sys.stdout.write(f"{hub.address} {files[1]['large.gguf'].sha256}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
