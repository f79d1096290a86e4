"""The tokens that may come next, as an array that llama.cpp's samplers and numpy both work on."""

import ctypes
from typing import Any

import numpy as np

import llama_cpp.llama_cpp as C

ENTRY = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama_token_data."""


class Address(ctypes.Structure):
    """The beginning of a llama_token_data_array, whose pointer is a number here."""

    _fields_ = (("data", ctypes.c_void_p),)


class Candidates:
    """Room for all tokens of a vocabulary; `fill` it, and what samplers leave is in `view`."""

    def __init__(self, size: int) -> None:
        self._all = np.zeros(size, ENTRY)
        self._ids = np.arange(size, dtype=np.int32)
        self.native = C.llama_token_data_array()
        self.pointer = ctypes.pointer(self.native)
        self._place = Address.from_buffer(self.native)
        self._begin = self._all.ctypes.data

    def fill(self, logits: "np.ndarray[Any, Any]") -> None:
        """All tokens, with these logits."""
        self._all["id"], self._all["logit"] = self._ids, logits
        self._whole(len(logits))

    def only(self, token: int, logit: float) -> None:
        """This token alone."""
        self._all[0] = (token, logit, 0)
        self._whole(1)

    def _whole(self, size: int) -> None:
        self._place.data = self._begin
        self.native.size, self.native.selected, self.native.sorted = size, -1, False

    @property
    def view(self) -> "np.ndarray[Any, Any]":
        """What is left; a sampler may have moved the beginning."""
        begin = (self._place.data - self._begin) // ENTRY.itemsize
        return self._all[begin : begin + self.native.size]

    def apply(self, sampler: Any) -> None:
        C.llama_sampler_apply(sampler, self.pointer)

    def drop_impossible(self) -> None:
        """Leave out what a stage or a mask gave no chance; all of it stays where none has one."""
        view = self.view
        keep = view["logit"] > -np.inf
        count = int(np.count_nonzero(keep))
        if count and count < len(view):
            view[:count] = view[keep]
            self.native.size = count
        self.native.sorted = False

    @property
    def chosen(self) -> tuple[int, float]:
        """The token that was selected, and its logit."""
        entry = self.view[self.native.selected]
        return int(entry["id"]), float(entry["logit"])
