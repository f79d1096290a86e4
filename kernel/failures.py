"""What is raised where something cannot be done: sentences for a person."""


class Refused(Exception):
    """What a person asked cannot be done: a sentence that says what happened and what to do.

    `refused` is the field that asked for it, by its name in `Request` or `Sampling`, if one did.
    "prompt" means one thing: that it is too long, also where it came as messages.
    """

    def __init__(self, sentence: str = "", refused: str = "") -> None:
        super().__init__(sentence)
        self.refused = refused


class EngineFailed(Exception):
    """An engine cannot do what it should, as where memory runs out: a sentence for a person."""
