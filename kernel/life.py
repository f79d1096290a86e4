"""The life of one extension: its code is run from its folder, and forgotten when it stops."""

import asyncio
import importlib.util
import logging
import sys
from contextlib import AsyncExitStack, suppress
from types import ModuleType
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from kernel.extension import Extension
from kernel.guard import called
from kernel.records import NoSettings, Record, Status, told
from kernel.waiting import limited

if TYPE_CHECKING:
    from kernel.manager import Kernel

log = logging.getLogger(__name__)


async def live(kernel: "Kernel", record: Record, started: "asyncio.Future[None]") -> None:
    """An extension's whole life, in one task: scopes open and close where they belong."""
    try:
        async with AsyncExitStack() as stack:
            stack.callback(forget_modules, record.id)
            stack.callback(kernel.pages.forget, record.id)
            module = await called(run_module, record)
            kind = getattr(module, "Settings", NoSettings)
            try:
                settings = kernel.settings.extension(record.id, kind)
                with suppress(msgspec.ValidationError):  # Looks at the annotations, and makes none.
                    msgspec.convert(0, kind)
                for field in structs.fields(kind):  # A default keeps to its own bounds.
                    if type(field.default) in (int, float, str):
                        msgspec.convert(field.default, field.type, strict=False)
            except (AttributeError, NameError, TypeError, msgspec.ValidationError) as error:
                raise TypeError(f"its Settings: {error}") from error
            record.kind = kind  # For forms, once it could be made: each field needs a default.
            ext = record.handle = Extension(record, settings, kernel, stack)
            stack.push_async_callback(ext.sweep)
            try:
                async with limited(kernel.patience):
                    await called(module.setup, ext)
                if not record.stop.is_set():  # Nobody switched it off while it was stuck here.
                    kernel.becomes(record, Status.RUNNING)
                started.set_result(None)
                await record.stop.wait()
            finally:
                await ext.leave()
                record.handle = None
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError):
            error = RuntimeError("cancelled itself")
        if started.done():
            return kernel.guard.failed(record.id, "stop", error)
        if record.stop.is_set():  # Nobody wants it any more: whatever it raised, it is off.
            return None if record.is_(Status.STUCK) else kernel.becomes(record, Status.OFF)
        log.exception("Extension %s failed", record.id)
        if isinstance(error, TimeoutError) and not error.args:
            error = TimeoutError(f"setup took longer than {kernel.patience:g} s")
        kernel.note(record.id, "setup", error)
        kernel.becomes(record, Status.FAILED, f"{told(error)}. Mend it, then try again.")
        if kernel.guard.strict:
            started.set_exception(error)
    finally:
        if not started.done():
            started.set_result(None)
        if record.is_(Status.STUCK):
            kernel.becomes(record, Status.OFF, "It stopped late.")
            here = kernel.records.get(record.id) is record and kernel.enabled(record.id)
            if record.again and here:
                kernel.later(kernel.start(record.id))


async def run_module(record: Record) -> ModuleType:
    """Import the extension's package from its folder."""
    name = f"extensions.{record.id}"
    spec = importlib.util.spec_from_file_location(
        name, record.folder / "__init__.py", submodule_search_locations=[str(record.folder)]
    )
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forget_modules(id: str) -> None:
    """Drop the extension's modules, so that the next start runs the files as they are now."""
    package = f"extensions.{id}"
    for name in [name for name in [*sys.modules] if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]
