"""Other machines that compute a part of the model: llama.cpp's RPC servers.

Upstream calls it fragile and insecure: for networks that are trusted. A server that dies takes the
worker with it.
"""

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
from extensions.llama_cpp.meaning import reach
from kernel.contract import Refused
from llama_cpp._ggml import libggml

NAMES = {"win32": "ggml-rpc.dll", "darwin": "libggml-rpc.dylib"}


def connect(servers: Sequence[str]) -> None:
    """Register them as devices, before a model is loaded; raises Refused."""
    if not servers:
        return
    library = Path(llama_cpp.__file__).parent / "lib" / NAMES.get(sys.platform, "libggml-rpc.so")
    if not library.is_file():
        raise Refused("This engine was built without RPC. Build it for RPC in Settings, llama.cpp.")
    for server in servers:
        reach(server)
    add = ctypes.CDLL(str(library)).ggml_backend_rpc_add_server
    add.restype, add.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    libggml.ggml_backend_register.argtypes = [ctypes.c_void_p]
    for server in servers:
        libggml.ggml_backend_register(add(server.encode()))
