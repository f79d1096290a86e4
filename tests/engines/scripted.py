"""An engine that does what its prompt says: `words 3`, `crash`, `hang`, `garbage`, …"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque

from kernel.contract import Delta, EngineFailed, Finish, ModelInfo, Output, Refused, Usage


class Engine:
    concurrent = ("echo", "wait", "hung")

    def __init__(self):
        self.running = {}
        self.early = deque()
        self.wake, self.hanging = threading.Event(), threading.Event()

    def load(self, path, options, report):
        for step in range(1, 4):
            report(step / 3, f"part {step}")
        getattr(self, path, lambda: None)()
        return ModelInfo(name=path, context_length=options.get("context_length", 7))

    def submit(self, id, request):
        script = deque(request.prompt.split())
        if script[0] == "refuse":
            raise Refused("The prompt is too long. Shorten it.", "prompt")
        if script[0] == "starved":
            raise EngineFailed("There is no memory left. Load less.")
        if script[0] == "raise":
            raise KeyError("surprise")
        self.running[id] = script
        self.wake.set()

    def cancel(self, id):
        self.running[id] = deque(["cancelled"])

    def poll(self, timeout):
        """One word of every request's script."""
        self.wake.wait(timeout)
        outputs = []
        for id, script in list(self.running.items()):
            word = script.popleft() if script else "stop"
            if word in ("stop", "cancelled"):
                del self.running[id]
                outputs.append(Output(id, finish=Finish(word, usage=Usage(1, 2))))
            elif hasattr(self, word):
                for output in outputs:
                    self.early.append(output)
                getattr(self, word)()
            else:
                outputs.append(Output(id, delta=Delta(word + " "), progress=1.0))
        if not self.running:
            self.wake.clear()
        return outputs

    def call(self, name, report, cancelled, **data):
        if name in ("wait", "hold"):
            while not cancelled():
                time.sleep(0.005)
            return "cancelled"
        if name == "report":
            report(0.5, "half")
        if name == "write":
            return self.write(data["size"])
        if name == "large":
            return "x" * data["size"]
        return getattr(self, name)() if hasattr(self, name) else data

    def pause(self):
        time.sleep(0.005)

    def environ(self):
        return dict(os.environ)

    def child(self):
        """A grandchild of the server."""
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid

    def nap(self):
        time.sleep(0.02)

    def fault(self):
        raise ValueError("a fault in a step")

    def segfault(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self):
        print("my last words")
        os._exit(7)

    def starve(self):
        print("terminate called after throwing an instance of 'std::bad_alloc'")
        os.abort()

    def hang(self):
        self.hanging.set()
        time.sleep(60)

    def hung(self):
        """Answered once it hangs."""
        return self.hanging.wait(60)

    def garbage(self):
        self.pipe().sendall(b"Hello, I am a library that prints.\n" * 9)
        self.hang()

    def huge(self):
        self.pipe().sendall((2**31).to_bytes(4, "little"))
        self.hang()

    def close_pipe(self):
        os.close(self.pipe().fileno())
        self.hang()

    def pipe(self):
        return sys.modules["__main__"].channel

    def freeze(self):
        """Hold the interpreter, as a native library may."""
        os.kill(os.getpid(), signal.SIGSTOP)

    def write(self, size):
        block = b"All work and no play.\n" * 50_000
        for _ in range(size // len(block)):
            os.write(2, block)

    def long_line(self):
        os.write(1, b"=" * 10_000_000)
