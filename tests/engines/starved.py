"""An engine with too little memory, at the moment that a call or an option names."""

import resource
from pathlib import Path

from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "llama_cpp"
Real = load_code(f"{FOLDER / 'worker.py'}:Engine")


class Engine(Real):
    def load(self, path, options, report):
        options = dict(options)
        room, moment = options.pop("room", 0) << 20, options.pop("moment", "")
        if moment == "server":
            import xllamacpp  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

            xllamacpp.Server = limited(fails, room)
            return super().load(path, options, report)
        from extensions.llama_cpp.native import engine, library  # noqa: PLC0415 - a large library

        library.start()
        if moment == "known":  # before the check, which sees it
            limit(room)
        elif moment == "weights":  # after it, as if somebody else had taken the memory
            engine.library.Model.load = limited(engine.library.Model.load, room)
        elif moment == "context":
            engine.Context.__init__ = limited(engine.Context.__init__, room)
        return super().load(path, options, report)

    def call(self, name, report, cancelled, **data):
        if name == "keep":  # nothing outside the context: there is no room for the copy
            from extensions.llama_cpp.native import context  # noqa: PLC0415 - see below

            context.Context.state = no_room
            return None
        if name != "starve":
            return super().call(name, report, cancelled, **data)
        from extensions.llama_cpp.native import context  # noqa: PLC0415 - it is loaded by now

        codes = iter([0] * data["after"] + [context.STARVED])
        decode = context._decode
        context._decode = lambda handle, batch: next(codes, 0) or decode(handle, batch)


def fails(given):
    raise RuntimeError


def no_room(self, sequence):
    raise MemoryError


def limited(make, room):
    def make_limited(*args, **more):
        limit(room)
        return make(*args, **more)

    return make_limited


def limit(room):
    lines = Path("/proc/self/status").read_text().splitlines()
    size = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize:")) + room
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
