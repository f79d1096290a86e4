"""Asks the hub what is there, in a child process, with the hub's own library."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoFile
from huggingface_hub.utils import (
    build_hf_headers,
    close_session,
    get_session,
    hf_raise_for_status,
)
from huggingface_hub.utils._xet import is_valid_xet_hash

from kernel.contract import ModelInfo as Loaded
from kernel.contract import Output, Refused, Report, Request

from .plan import Found, Item, Repository

SECONDS = 30.0
"""Until a hub that does not answer counts as away."""
MOST = 50_000
"""Files of a repository that are looked at."""
CARD = 1 << 20
"""Bytes of a card that are read."""
KNOWN = ("downloads", "likes", "lastModified", "gated", "tags", "safetensors", "gguf")
ACCESS = (
    "{} gives it to nobody who is not let in ({}). Check the name; if it is private or gated, open "
    "its page, accept the terms there, and set a token of yours in the downloader's settings."
)


class Hub:
    """Its calls are those that plan.py names."""

    concurrent = frozenset({"repository", "search", "card"})

    def __init__(self) -> None:
        self._lock, self._asking = threading.Lock(), 0

    def call(self, name: str, report: Report, cancelled: Callable[[], bool], **data: Any) -> object:
        """Answer `repository`, `search` or `card`; raises Refused. Afterwards no connection stays
        open: the next question may come tomorrow."""
        with self._lock:
            self._asking += 1
        try:
            return {"repository": repository, "search": search, "card": card}[name](**data)
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    close_session()

    def load(self, path: str, options: Mapping[str, Any], report: Report) -> Loaded:
        raise Refused("This is no engine: it loads nothing.")

    def submit(self, id: int, request: Request) -> None:
        raise Refused("This is no engine: it writes nothing.")

    def poll(self, timeout: float) -> Sequence[Output]:
        time.sleep(timeout)  # While a call is open the host polls again at once.
        return ()

    def cancel(self, id: int) -> None:
        pass


def repository(repo: str, revision: str, endpoint: str, token: str) -> Repository:
    """What a repository holds at a revision."""
    api = HfApi(endpoint, token or False)
    with told(repo, revision, endpoint):
        about = api.model_info(repo, revision=revision, timeout=SECONDS)
        commit = about.sha or revision
        items: list[Item] = []
        for entry in api.list_repo_tree(repo, recursive=True, revision=commit):
            if not isinstance(entry, RepoFile):
                continue
            if len(items) == MOST:
                raise Refused(f"{repo} has more than {MOST:,} files. That is no model.")
            items.append(item(entry, f"{endpoint}/{repo}/resolve/{commit}/"))
    head: Mapping[str, Any] = about.card_data.to_dict() if about.card_data else {}
    base = head.get("base_model") or ()
    return Repository(
        repo,
        revision,
        commit,
        tuple(items),
        bool(about.gated) and not (token and is_open(api, repo)),
        about.downloads or 0,
        licence(head, about.tags or ()),
        tuple(map(str, [base] if isinstance(base, str) else base))[:20],
        tuple(map(str, about.tags or ()))[:200],
        parameters(about),
    )


def is_open(api: HfApi, repo: str) -> bool:
    """Whether its owner lets the one in whose token this is; a hub that cannot say so does not."""
    try:
        api.auth_check(repo)
    except (HfHubHTTPError, httpx2.HTTPError, OSError):
        return False
    return True


def item(entry: RepoFile, at: str) -> Item:
    """A file as the tree lists it; of a large one the hash is that of its bytes."""
    url = at + quote(entry.path, errors="surrogatepass")
    path = entry.path.encode(errors="replace").decode()
    lfs = entry.lfs
    if not lfs:
        return Item(path, url, entry.size, None, entry.blob_id)
    good = bool(re.fullmatch(r"[0-9a-f]{64}", lfs.sha256))
    xet = entry.xet_hash or ""
    chunked = xet.lower() if is_valid_xet_hash(xet) else ""
    return Item(path, url, lfs.size, lfs.sha256 if good else None, lfs.sha256, chunked)


def search(query: str, limit: int, endpoint: str, token: str) -> list[Found]:
    """Models whose name fits, the most downloaded first."""
    asked = {"search": query, "limit": limit, "sort": "downloads", "direction": -1}
    headers = build_hf_headers(token=token or False)
    with told(query, "", endpoint):  # one page, and at once where nobody answers
        answer = get_session().get(
            f"{endpoint}/api/models",
            params={**asked, "expand": [*KNOWN]},
            headers=headers,
            timeout=SECONDS,
        )
        hf_raise_for_status(answer)
        found = [ModelInfo(**each) for each in answer.json()]
    return [
        Found(
            each.id,
            each.downloads or 0,
            each.likes or 0,
            each.last_modified.strftime("%Y-%m-%d") if each.last_modified else "",
            bool(each.gated),
            tuple(map(str, each.tags or ()))[:200],
            parameters(each),
        )
        for each in found[:limit]
    ]


def card(repo: str, revision: str, endpoint: str, token: str) -> str:
    """The text of README.md; "" where there is none."""
    url = f"{endpoint}/{repo}/resolve/{quote(revision, safe='')}/README.md"
    headers = build_hf_headers(token=token or False)
    with told(repo, revision, endpoint):
        session, read = get_session(), bytearray()
        with session.stream(
            "GET", url, headers=headers, follow_redirects=True, timeout=SECONDS
        ) as answer:
            if answer.status_code in (404, 410):
                return ""
            if answer.status_code in (401, 403):
                raise Refused(ACCESS.format(endpoint.partition("://")[2], answer.status_code))
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                read += piece
                if len(read) > CARD:
                    break
    return bytes(read[:CARD]).decode("utf-8", "replace")


def licence(head: Mapping[str, Any], tags: Sequence[str]) -> str:
    """Its short name, from the head of the card or from the tags."""
    said = head.get("license_name") or head.get("license")
    if isinstance(said, str) and said:
        return said[:100]
    return next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")


def parameters(about: ModelInfo) -> int:
    """How many numbers the model has, as the hub read it off its files."""
    gguf: Any = getattr(about, "gguf", None)
    counted = getattr(about.safetensors, "total", 0) if about.safetensors else 0
    listed = gguf.get("total", 0) if isinstance(gguf, dict) else 0
    return counted or (listed if isinstance(listed, int) else 0)


@contextmanager
def told(repo: str, revision: str, endpoint: str) -> Iterator[None]:
    """Say what goes wrong in sentences for a person."""
    host = endpoint.partition("://")[2]
    try:
        yield
    except GatedRepoError:
        raise Refused(
            f"The owner of {repo} wants to be asked first. Open its page on {host}, accept the "
            "terms, and set a token of yours in the downloader's settings."
        ) from None
    except RevisionNotFoundError:
        raise Refused(
            f"{repo} has no branch “{revision}”. Leave it out for the main one."
        ) from None
    except RepositoryNotFoundError:
        raise Refused(
            f"There is no model {repo} on {host}, or it is private. Check the name; if it is "
            "private, set a token that may read it in the downloader's settings."
        ) from None
    except (DisabledRepoError, HFValidationError):
        raise Refused(f"{host} does not give {repo} out. Choose another one.") from None
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise Refused(ACCESS.format(host, code)) from None
        if code == 429:
            raise Refused(f"{host} is asked too often just now. Try again in a minute.") from None
        raise Refused(f"{host} answers with an error ({code}). Try again later.") from None
    except (httpx2.HTTPError, OSError, ValueError, TypeError) as error:
        raise Refused(
            f"{host} cannot be reached ({type(error).__name__}). Check the network, or set a "
            "mirror in the downloader's settings."
        ) from None
