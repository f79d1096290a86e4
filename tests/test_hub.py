"""The hub of the tests behaves, and misbehaves, as it says."""

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from tests.hub import Hub, Made, Repo, serving

SIZE = 3_000_000


@pytest.fixture
def hub() -> Iterator[Hub]:
    mine = Repo("me/mine", downloads=5, tags=("gguf",))
    secret = Repo("me/secret", private=True)
    gated = Repo("you/gated", gated="manual", downloads=9)
    mine.commit({"config.json": "{}", "model.gguf": SIZE, "a/b/c.txt": "deep", "a/d.txt": "d"})
    for repo in (secret, gated):
        repo.commit({"model.gguf": 1000})
    with serving(Hub(mine, secret, gated)) as hub:
        yield hub


def get(hub: Hub, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, f"{hub.address}/{path}", headers=named, follow_redirects=True)


def test_content_is_the_same_however_it_is_cut():
    made = Made(1_000_003, 7)
    whole = b"".join(made.pieces(0, made.size))
    assert len(whole) == made.size
    for start, stop in ((0, 1), (65_535, 65_537), (262_143, 600_001), (1_000_002, 1_000_003)):
        assert b"".join(made.pieces(start, stop)) == whole[start:stop]


def test_a_model_and_its_tree_in_pages(hub: Hub):
    hub.page = 2
    about = get(hub, "api/models/me/mine?blobs=true").json()
    sizes = {each["rfilename"]: each["size"] for each in about["siblings"]}
    assert sizes["model.gguf"] == SIZE
    url = f"api/models/me/mine/tree/{about['sha']}?recursive=True"
    first = get(hub, url)
    more = [httpx.get(first.links["next"]["url"])]
    while "next" in more[-1].links:
        more.append(httpx.get(more[-1].links["next"]["url"]))
    paths = [entry["path"] for page in (first, *more) for entry in page.json()]
    assert paths == ["config.json", "model.gguf", "a", "a/b", "a/b/c.txt", "a/d.txt"]
    hub.page = 9
    flat = get(hub, "api/models/me/mine/tree/main").json()
    assert {entry["path"] for entry in flat} >= {"config.json", "a"}


def test_large_files_lie_elsewhere_and_small_ones_here(hub: Hub):
    url = f"{hub.address}/me/mine/resolve/main/model.gguf"
    told = httpx.head(url)
    whole = httpx.get(told.headers["location"])
    assert told.status_code == 302
    assert told.headers["location"].startswith(hub.store)
    assert told.headers["x-linked-etag"].strip('"') == hashlib.sha256(whole.content).hexdigest()
    assert int(told.headers["x-linked-size"]) == len(whole.content) == SIZE
    token = {"Authorization": "Bearer any"}
    assert httpx.get(told.headers["location"], headers=token).status_code == 400
    small = get(hub, "me/mine/resolve/main/config.json")
    assert small.text == "{}"
    assert small.headers["x-repo-commit"] == hub["me/mine"].branches["main"]


def test_ranges(hub: Hub):
    url = "me/mine/resolve/main/model.gguf"
    whole = get(hub, url).content
    part = get(hub, url, Range="bytes=100000-100099")
    assert part.status_code == 206
    assert part.content == whole[100_000:100_100]
    assert part.headers["content-range"] == f"bytes 100000-100099/{SIZE}"
    assert get(hub, url, Range=f"bytes={SIZE}-").status_code == 416
    assert get(hub, url, Range="bytes=5-", If_Range='"other"').content == whole


def test_who_may_see_what(hub: Hub):
    hub.tokens["hf_ok"] = {"me/secret", "you/gated"}
    hub.tokens["hf_other"] = set()
    for path in ("me/secret", "me/nothing"):
        assert get(hub, f"api/models/{path}").status_code == 401
        told = get(hub, f"api/models/{path}", Authorization="Bearer hf_other")
        assert (told.status_code, told.headers["x-error-code"]) == (404, "RepoNotFound")
    assert get(hub, "api/models/me/secret", Authorization="Bearer hf_ok").json()["private"]
    file = "you/gated/resolve/main/model.gguf"
    assert get(hub, "api/models/you/gated").json()["gated"] == "manual"
    assert get(hub, file).headers["x-error-code"] == "GatedRepo"
    assert get(hub, file, Authorization="Bearer hf_other").status_code == 403
    assert get(hub, file, Authorization="Bearer hf_ok").status_code == 200
    assert get(hub, "api/models/me/mine/revision/old").headers["x-error-code"] == "RevisionNotFound"
    assert get(hub, "me/mine/resolve/main/x").headers["x-error-code"] == "EntryNotFound"


def test_search(hub: Hub):
    def found(query: str) -> list[str]:
        return [each["id"] for each in get(hub, f"api/models?{query}").json()]

    assert found("") == ["you/gated", "me/mine"]
    assert found("search=MINE") == ["me/mine"]
    assert found("filter=gguf&author=me") == ["me/mine"]
    assert found("limit=1&sort=downloads") == ["you/gated"]


@pytest.mark.parametrize("do", ["cut", "claim"])
def test_it_ends_too_early(hub: Hub, do: str):
    hub.misbehave(do, "*model.gguf", at=1_000_000)  # type: ignore[arg-type]
    with pytest.raises(httpx.RemoteProtocolError):
        get(hub, "me/mine/resolve/main/model.gguf")
    assert hub.sent("model.gguf") == (1_000_000 if do == "cut" else SIZE)
    assert len(get(hub, "me/mine/resolve/main/model.gguf").content) == SIZE


def test_what_it_sends_is_wrong(hub: Hub):
    url = "me/mine/resolve/main/model.gguf"
    right = get(hub, url)
    hub.misbehave("flip", "*.gguf", at=2_000_000)
    wrong = get(hub, url).content
    assert [n for n in range(SIZE) if wrong[n] != right.content[n]] == [2_000_000]
    hub.misbehave("short", "*.gguf", at=1000)
    assert len(get(hub, url).content) == 1000
    hub.misbehave("html", "*.gguf")
    assert "html" in get(hub, url).headers["content-type"]
    hub.misbehave("etag", "*.gguf")
    assert get(hub, url).headers["etag"] != right.headers["etag"]
    hub.misbehave("whole", "*.gguf")
    assert get(hub, url, Range="bytes=5-").status_code == 200


def test_it_is_busy_slow_or_silent(hub: Hub):
    url = "me/mine/resolve/main/model.gguf"
    hub.misbehave("status", "bytes:*", status=429, after="7")
    busy = get(hub, url)
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "7")
    hub.misbehave("stall", "*.gguf", at=10)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{hub.address}/{url}", follow_redirects=True, timeout=0.2)
    hub.misbehave("slow", "*.gguf", rate=1000)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{hub.address}/{url}", follow_redirects=True, timeout=0.05)
    hub.misbehave("status", "api:me/mine", status=502)
    assert get(hub, "api/models/me/mine").status_code == 502
