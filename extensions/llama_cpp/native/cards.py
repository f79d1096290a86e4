"""The graphics cards that this build of llama.cpp sees."""

import ctypes

from llama_cpp._ggml import libggml

CPU, GPU, INTEGRATED = 0, 1, 2
"""ggml's kinds of devices."""


def _devices(*kinds: int) -> list[int]:
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    libggml.ggml_backend_dev_type.restype = ctypes.c_int
    libggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    all = map(libggml.ggml_backend_dev_get, range(libggml.ggml_backend_dev_count()))
    return [device for device in all if libggml.ggml_backend_dev_type(device) in kinds]


def free() -> list[int]:
    """The free bytes of each card."""
    ask, found = libggml.ggml_backend_dev_memory, list[int]()
    ask.restype = None
    ask.argtypes = [ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2]
    for device in _devices(GPU, INTEGRATED):
        now, total = ctypes.c_size_t(), ctypes.c_size_t()
        ask(device, ctypes.byref(now), ctypes.byref(total))
        found.append(now.value)
    return found


def memory_of_cpu() -> int:
    """The kind of buffer that is the machine's own memory."""
    ask = libggml.ggml_backend_dev_buffer_type
    ask.restype, ask.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return ask(_devices(CPU)[0])
