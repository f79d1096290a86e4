"""What the extensions of APIs build on."""

from .bounds import MESSAGES, TOOLS
from .calls import ASKER, Asking, Call, Caller, Out, caller_of
from .endpoints import APIS, Answer, Api, Endpoint, Tongue, json, left, nothing, stopped
from .fields import ALIASES, sampling_of
from .filling import filled
from .gate import Gate
from .heard import Heard
from .loading import Loader, Want, not_loaded
from .media import HEARING, PICTURES, SPEECH, Listener, Painter, Recording, Speaker
from .messages import GIVEN_UP, Piece, Said, after_results, message_of, messages_of, unseen
from .pictures import pictures_of
from .problems import (
    CANCELLED,
    LATER,
    Fault,
    Problem,
    missing,
    no_such_model,
    refused,
    unavailable,
)
from .programs import PROGRAMS, Programs
from .reading import converted, decoded, read
from .router import ModelRouter
from .runs import NAMES, Run, Runs
from .several import make, times
from .stopping import Wait
from .tools import Called, CallPart, Calls, calls_in, growing
from .wishes import EFFORTS, Asked, Wish

__all__ = [
    "ALIASES", "APIS", "ASKER", "CANCELLED", "EFFORTS", "GIVEN_UP", "HEARING", "LATER", "MESSAGES",
    "NAMES", "PICTURES", "PROGRAMS", "SPEECH", "TOOLS",
    "Answer", "Api", "Asked", "Asking", "Call", "CallPart", "Called", "Caller", "Calls", "Endpoint",
    "Fault", "Gate", "Heard", "Listener", "Loader", "ModelRouter", "Out", "Painter", "Piece",
    "Problem", "Programs", "Recording", "Run", "Runs", "Said", "Speaker", "Tongue", "Wait", "Want",
    "Wish", "after_results", "caller_of", "calls_in", "converted", "decoded", "filled", "growing",
    "json", "left", "make", "message_of", "messages_of", "missing", "no_such_model", "not_loaded",
    "nothing", "pictures_of", "read", "refused", "sampling_of", "stopped", "times", "unavailable",
    "unseen",
]  # fmt: skip
