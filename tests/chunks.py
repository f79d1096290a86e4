"""How Xet keeps a file, for the hub of the tests: chunks in a row are a xorb, and a file is made of
ranges of chunks, which its server names (https://github.com/huggingface/xet-core, spec)."""

import hashlib
from functools import lru_cache
from typing import Any

from tests.repositories import File, Written

CHUNK = 1 << 16
CHUNKS = 64
"""In a xorb: four megabytes, where the real ones have up to 64."""
HEAD = 8


def head(size: int) -> bytes:
    """Before each chunk: a version, how long it is, that it is not packed, and how long it was."""
    length = size.to_bytes(3, "little")
    return b"\0" + length + b"\0" + length


@lru_cache(4)
def xorb(file: File, number: int) -> Written:
    """The chunks of one, as they are sent."""
    start = number * CHUNK * CHUNKS
    data = b"".join(file.content.pieces(start, min(start + CHUNK * CHUNKS, file.size)))
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    return Written(b"".join(head(len(chunk)) + chunk for chunk in chunks))


def rebuilt(file: File, start: int, stop: int, at: str) -> dict[str, Any]:
    """What the bytes from `start` to `stop` are made of, and where that is."""
    stop, terms, info = min(stop, file.size), list[Any](), dict[str, list[Any]]()
    chunk, end = start // CHUNK, -(-stop // CHUNK)
    while chunk < end:
        number, first = divmod(chunk, CHUNKS)
        last = min(end - number * CHUNKS, CHUNKS)
        after = number * CHUNKS + last
        name = hashlib.sha256(f"{file.sha256} {number}".encode()).hexdigest()
        span = {"start": first, "end": last}
        length = min(after * CHUNK, file.size) - chunk * CHUNK
        terms.append({"hash": name, "unpacked_length": length, "range": span})
        sent = first * (HEAD + CHUNK)
        until = sent + length + (last - first) * HEAD - 1
        url = {"url": f"{at}/{number}", "url_range": {"start": sent, "end": until}}
        info[name] = [{"range": span, **url}]
        chunk = after
    skipped = start - start // CHUNK * CHUNK
    return {"offset_into_first_range": skipped, "terms": terms, "fetch_info": info}


def as_v2(told: dict[str, Any]) -> dict[str, Any]:
    """The same in the newer form, which may name several ranges of a xorb at once."""
    xorbs = {
        name: [
            {"url": i["url"], "ranges": [{"chunks": i["range"], "bytes": i["url_range"]}]}
            for i in infos
        ]
        for name, infos in told["fetch_info"].items()
    }
    return {**{k: v for k, v in told.items() if k != "fetch_info"}, "xorbs": xorbs}
