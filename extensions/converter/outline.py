"""Reads what a file of PyTorch says is in it, and runs nothing: it cannot call anything.

A pickle is a program for a small machine. This one knows the few instructions that files of
weights are made of, and makes plain descriptions of what they would make.
"""

import math
from collections.abc import Callable
from pickletools import genops
from typing import Any, BinaryIO

from kernel.contract import Struct

MOST_INSTRUCTIONS = 5_000_000
"""A model of a hundred thousand tensors has three million."""
MOST_WAITING = 20_000
"""Values that wait on the stack; PyTorch writes them in batches of a thousand pairs."""
DEEPEST = 32
LONGEST_NAME = 500
KINDS = {
    "Float": "F32", "Double": "F64", "Half": "F16", "BFloat16": "BF16", "Long": "I64",
    "Int": "I32", "Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL", "ComplexFloat": "C64",
}  # fmt: skip
"""PyTorch's kinds of storage, as safetensors calls them."""
TYPES = {
    "float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
    "uint16": "U16", "uint32": "U32", "uint64": "U64", "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
"""The same for its types, by which the newer kinds are stored."""
WIDTHS = {"8": 1, "16": 2, "32": 4, "64": 8}
BYTES = {each: WIDTHS["".join(filter(str.isdigit, each.partition("_")[0]))] for each in
         {*KINDS.values(), *TYPES.values()} - {"BOOL"}} | {"BOOL": 1}  # fmt: skip


class Global(Struct, frozen=True):
    """A name that the file would have looked up, in PyTorch or elsewhere."""

    name: str


class Storage(Struct, frozen=True):
    """Bytes that tensors share; `kind` is empty where each tensor says how it reads them."""

    key: str
    kind: str
    size: int


class Tensor(Struct, frozen=True):
    """A tensor: how it reads its storage, in elements."""

    storage: Storage
    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * BYTES[self.kind]

    def check(self) -> None:
        """Whether it lies within its storage, and is no larger than it; raises Unfit."""
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or len(self.shape) > 16:
            raise Unfit("one of its tensors has a shape that none can have")
        if not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
            raise Unfit("one of its tensors has a shape that none can have")
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        end = (self.offset + last + 1) * BYTES[self.kind]
        if self.size > self.storage.size or (self.size and end > self.storage.size):
            raise Unfit("one of its tensors claims to be larger than what is stored of it")


class Unfit(ValueError):
    """Why a file is not converted, as half a sentence about it."""


class Program(Unfit):
    """It would run something."""


def read(file: BinaryIO, tick: Callable[[], None] = lambda: None) -> Any:
    """What one pickle describes, of plain values, `Storage` and `Tensor`; `tick` is called now and
    then. Raises Unfit."""
    machine = Machine()
    try:
        for count, (op, arg, _) in enumerate(genops(file)):
            if count % 50_000 == 0:
                tick()
            if count > MOST_INSTRUCTIONS or machine.waiting > MOST_WAITING:
                raise Unfit("it describes more than any model has")
            machine.step(op.name, arg)
        [made] = machine.stack
    except Unfit:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise Unfit("what it says of itself makes no sense: it is cut off or damaged") from error
    check_depth(made)
    return made


def check_depth(made: Any) -> None:
    """Nothing that people keep with weights is nested deeply, or contains itself."""
    level, seen = [made], set[int]()
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict | list | tuple) and id(each) not in seen:
                seen.add(id(each))
                inner += each.values() if isinstance(each, dict) else each
        if not inner:
            return
        level = inner
    raise Unfit("it is nested too deeply")


class Machine:
    """The stack and the memory of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memory: dict[int, Any] = {}

    @property
    def waiting(self) -> int:
        return len(self.stack) + len(self._marks)

    def step(self, name: str, arg: Any) -> None:
        """Carry out one instruction."""
        match name:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                self._marks.append(self.stack)
                self.stack = []
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NEWTRUE": True, "NEWFALSE": False}.get(name))
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                self.stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list}.get(name, tuple)())
            case (
                "BININT"
                | "BININT1"
                | "BININT2"
                | "LONG1"
                | "BINFLOAT"
                | "BINUNICODE"
                | ("SHORT_BINSTRING")
            ):
                self.stack.append(arg)
            case "BINPUT" | "LONG_BINPUT":
                self._memory[arg] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self._memory[arg])
            case "GLOBAL":
                self.stack.append(known(arg))
            case _:
                self._combine(name)

    def _combine(self, name: str) -> None:
        pop = self.stack.pop
        match name:
            case "TUPLE":
                self._push_on(tuple(self.stack))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                values = tuple(self.stack[-count:])
                if len(values) != count:
                    raise LookupError(name)
                self.stack[-count:] = [values]
            case "APPEND":
                value = pop()
                into(self.stack[-1], list).append(value)
            case "APPENDS":
                values = self._back()
                into(self.stack[-1], list).extend(values)
            case "SETITEM":
                value, key = pop(), pop()
                put(self.stack[-1], [key, value])
            case "SETITEMS":
                values = self._back()
                put(self.stack[-1], values)
            case "BUILD":
                into(pop(), dict)  # `_metadata` of a state dict: it says nothing of the weights.
                into(self.stack[-1], dict)
            case "BINPERSID":
                self.stack.append(storage(pop()))
            case "REDUCE":
                arguments, function = pop(), pop()
                self.stack.append(rebuilt(function, arguments))
            case _:
                raise Unfit(f"it has an instruction that no file of weights needs ({name})")

    def _back(self) -> list[Any]:
        values, self.stack = self.stack, self._marks.pop()
        return values

    def _push_on(self, value: Any) -> None:
        self._back()
        self.stack.append(value)


# --- what the instructions may make -----------------------------------------------------

SKIPPED = ("collections OrderedDict", "torch Size")
REBUILD = "torch._utils _rebuild_"
TENSORS = ("tensor", "tensor_v2", "tensor_v3", "parameter")
UNSUITED = ("qtensor", "sparse_tensor", "nested_tensor", "sparse_csr_tensor")


def known(name: str) -> Global:
    """A name that files of weights use; raises Program for every other."""
    place, _, last = name.partition(" ")
    if place == "torch._utils" and last.removeprefix("_rebuild_") in UNSUITED:
        raise Unfit("it holds quantized or sparse tensors, which safetensors cannot hold")
    kind = last.removesuffix("Storage")
    if (
        name in SKIPPED
        or name.removeprefix(REBUILD) in TENSORS
        or (place == "torch" and (last in TYPES or (kind in KINDS and kind != last)))
        or name == "torch.storage UntypedStorage"
    ):
        return Global(name)
    if place == "torch" and (kind != last or last.startswith(("complex", "q"))):
        raise Unfit(f"it holds numbers of a kind that safetensors cannot hold ({last[:40]})")
    raise Program(f"opening it would run {shown(name.replace(' ', '.', 1))}")


def shown(text: str) -> str:
    """Part of a hostile file, harmless in a terminal and a page."""
    return ascii(text[:80])[1:-1]


def into(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise TypeError(kind.__name__)
    return value


def put(table: Any, values: list[Any]) -> None:
    into(table, dict)
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str | int):
            raise TypeError("key")
        table[key] = value


def storage(id: Any) -> Storage:
    """What a persistent id names: `("storage", kind, key, device, count)`, and None in files of
    the old form."""
    if into(id, tuple)[0] not in ("storage", b"storage") or id[5:] not in ((), (None,)):
        raise Unfit("it shares its tensors in a way that is no longer used")
    _, kind, key, _, count = id[:5]
    name = into(kind, Global).name.removeprefix("torch ").removesuffix("Storage")
    if type(key) is not str or len(key) > 40 or type(count) is not int or not 0 <= count < 2**48:
        raise TypeError("storage")
    if name == "torch.storage Untyped":
        return Storage(key, "", count)
    return Storage(key, KINDS[name], count * BYTES[KINDS[name]])


def rebuilt(function: Any, arguments: Any) -> Any:
    """What a call would make, of those that are known."""
    name = into(function, Global).name
    match name.removeprefix(REBUILD), into(arguments, tuple):
        case "collections OrderedDict", ():
            return {}
        case "torch Size", (tuple() | list() as sizes,):
            return tuple(sizes)
        case "parameter", (Tensor() as tensor, *_):
            return tensor
        case "tensor" | "tensor_v2" | "tensor_v3" as form, (
            Storage() as storage, offset, tuple() as shape, tuple() as strides, *more,
        ):  # fmt: skip
            kind = storage.kind
            if form == "tensor_v3":
                kind = TYPES[into(more[2], Global).name.removeprefix("torch ")]
            elif not kind:
                raise TypeError("untyped")
            tensor = Tensor(storage, kind, offset, shape, strides)
            tensor.check()
            return tensor
    raise TypeError(name)


def together(tensors: dict[str, Tensor]) -> dict[str, list[str]]:
    """Names of one and the same tensor, by the first of them: what a model ties."""
    groups: dict[Tensor, list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(tensor, []).append(name)
    return {names[0]: names for names in groups.values() if len(names) > 1}
