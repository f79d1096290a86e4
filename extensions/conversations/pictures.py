"""What a picture is, as its own bytes say: its kind, and its size as it is shown."""

import io

KINDS = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""The media types of what is known to be a picture."""
HEAD = 1 << 20
"""Bytes that the size is looked for in: more than any camera writes before it, and few enough that
a file of a million empty chapters is done with soon."""


def kind_of(data: bytes) -> str:
    """The media type that the first bytes tell; empty where it is none that is shown."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/gif" if data[:6] in (b"GIF87a", b"GIF89a") else ""


def look_of(data: bytes) -> tuple[tuple[int, int], bool]:
    """Width and height in dots, as whoever shows it has them, (0, 0) where they cannot be read;
    and whether it has to be turned for that. Blocking."""
    if not kind_of(data):  # What reads other kinds, such as SVG, is not asked.
        return (0, 0), False
    import imagesize  # noqa: PLC0415 - brings an HTTP client along, and the first picture comes late

    try:
        info = imagesize.get_info(
            io.BytesIO(data[:HEAD]), dpi=False, colors=False, channels=False, exif_rotation=True
        )
    except Exception:  # It has many ways to say that a file is broken.
        return (0, 0), False
    if info.width <= 0 or info.height <= 0:
        return (0, 0), False
    return (info.width, info.height), info.rotation > 1
