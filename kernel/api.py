"""Everything an extension may import from the kernel. Nothing else is public."""

from starlette.routing import Route, Router

from kernel import __version__
from kernel.acting import Action
from kernel.app import ROUTES, Routes
from kernel.clients import Client, Connected, Conversation, Disconnected, Everyone
from kernel.contract import (
    UNSET,
    Audio,
    Delta,
    Finish,
    Image,
    Mark,
    Message,
    Meta,
    ModelInfo,
    Part,
    Processor,
    Reasoning,
    Refused,
    Request,
    Role,
    Sampling,
    Struct,
    Text,
    Timings,
    Token,
    ToolCall,
    ToolResult,
    Turn,
    UnsetType,
    Usage,
    built,
)
from kernel.crash import kill_at
from kernel.extension import Extension, NotAvailable
from kernel.files import write
from kernel.forms import Field, fields
from kernel.guard import Failure
from kernel.jobs import Job, JobKind, JobProgress
from kernel.keyring import Key
from kernel.loaders import (
    LOADERS,
    Generated,
    Generation,
    Installs,
    Loader,
    Model,
    SlotChanged,
    ToInstall,
)
from kernel.manager import Kernel
from kernel.manifest import API as VERSION
from kernel.manifest import Manifest
from kernel.model import LoadFailed, NoModel, Replaced, Slot
from kernel.names import safe_name, safe_path
from kernel.pages import PANELS, Panel
from kernel.points import Changed, Phase, Point
from kernel.principals import Principal
from kernel.records import Record, SectionChanged, SettingsChanged, Started, Status, StatusChanged
from kernel.reply import Reply, Step
from kernel.samplers import SAMPLERS, Samplers
from kernel.sampling import Parameter, parameters
from kernel.sentences import Sentences
from kernel.settings import Secret, check
from kernel.turn import (
    DISPLAY,
    GENERATE,
    HISTORY,
    INPUT,
    MODES,
    OUTPUT,
    REQUEST,
    Draft,
    Mode,
    Past,
    whole_text,
)
from kernel.worker import Worker, WorkerDied, WorkerError
from kernel.workers import WorkerLoader, WorkerModel
from kernel.yamltree import Malformed, composed, dump_yaml, read_yaml

__all__ = [
    "DISPLAY", "GENERATE", "HISTORY", "INPUT", "LOADERS", "MODES", "OUTPUT", "PANELS",
    "REQUEST", "ROUTES", "SAMPLERS", "UNSET", "VERSION", "Action", "Audio", "Changed", "Client",
    "Connected", "Conversation", "Delta", "Disconnected", "Draft", "Everyone", "Extension",
    "Failure", "Field", "Finish", "Generated", "Generation", "Image", "Installs", "Job",
    "JobKind", "JobProgress", "Kernel", "Key", "LoadFailed", "Loader", "Malformed", "Manifest",
    "Mark", "Message", "Meta", "Mode", "Model", "ModelInfo", "NoModel",
    "NotAvailable", "Panel", "Parameter", "Part", "Past", "Phase", "Point", "Principal",
    "Processor", "Reasoning", "Record", "Refused", "Replaced", "Reply", "Request", "Role",
    "Route", "Router", "Routes", "Samplers", "Sampling", "Secret", "SectionChanged", "Sentences",
    "SettingsChanged", "Slot", "SlotChanged", "Started", "Status", "StatusChanged",
    "Step", "Struct", "Text", "Timings", "ToInstall", "Token", "ToolCall", "ToolResult", "Turn",
    "UnsetType", "Usage", "Worker", "WorkerDied", "WorkerError", "WorkerLoader",
    "WorkerModel", "__version__", "built", "check", "composed", "dump_yaml", "fields", "kill_at",
    "parameters", "read_yaml", "safe_name", "safe_path", "whole_text", "write",
]  # fmt: skip
