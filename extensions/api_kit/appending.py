"""What a reader who only appends is told of a text of which a part may be replaced."""

from kernel.api import Delta


class Appended:
    """What was told of one text, and what there is to tell of each delta that follows.

    Of what stands instead of all that was told, as it makes good a modifier that failed or left,
    only what lies beyond is told; or all of it, in a new paragraph, where it says something else.
    """

    def __init__(self) -> None:
        self._told: list[str] = []
        self._anew: str | None = None
        """The text since it was replaced, as long as it is but a beginning of what was told."""

    def hear(self, delta: Delta) -> str:
        """What is to be appended."""
        if self._anew is None and not delta.replace:
            self._told.append(delta.text)
            return delta.text
        told, anew = "".join(self._told), delta.onto(self._anew or "")
        if told != anew and told.startswith(anew):
            self._anew = anew
            return ""
        self._told, self._anew = [anew], None
        return anew.removeprefix(told) if anew.startswith(told) else f"\n\n{anew}"
