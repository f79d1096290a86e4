"""An engine that does the worst to its process: what it said before is all that is left."""

import ctypes
import os
import sys
from collections import deque

from kernel.contract import Delta, Finish, ModelInfo, Output


class Engine:
    concurrent = ()

    def __init__(self):
        self.todo = deque()
        self.kept = []

    def load(self, path, options, report):
        return ModelInfo(name="worst", loader="worst", context_length=100)

    def submit(self, id, request):
        self.todo += [(id, "One"), (id, request.prompt), (id, None)]

    def poll(self, timeout):
        if not self.todo:
            return []
        id, word = self.todo.popleft()
        if word is None:
            return [Output(id, finish=Finish("stop"))]
        if act := getattr(self, f"do_{word}", None):
            act()
        return [Output(id, delta=Delta(word))]

    def cancel(self, id):
        pass

    def call(self, name, report, cancelled, **data):
        return None

    def do_segfault(self):
        ctypes.string_at(0)

    def do_end(self):
        os._exit(9)

    def do_exit(self):
        sys.exit(3)

    def do_files(self):
        """Ten thousand, or as many as the system gives."""
        while len(self.kept) < 10_000:
            self.kept.append(os.open("/dev/null", os.O_RDONLY))

    def do_leak(self):
        self.kept.append(bytearray(200_000_000))
