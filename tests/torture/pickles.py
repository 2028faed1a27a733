"""Pickles made on purpose: they run something, or a few bytes of them take all memory or time there is."""

from __future__ import annotations

import os
import pickle
import struct
from typing import Any

import numpy as np
import torch


def exploits(mark: str) -> dict[str, bytes]:
    """Pickles that make the file `mark` when they are loaded by Python's own unpickler."""
    text, command = mark.encode(), f"touch {mark}".encode()
    code = f"__import__('os').mkdir({mark!r})".encode()

    class ByReduce:
        def __init__(self, function: Any, *arguments: Any) -> None:
            self.call = function, arguments

        def __reduce__(self) -> Any:
            return self.call

    made = {
        f"{name}, protocol {protocol}": pickle.dumps(ByReduce(*call), protocol)
        for protocol in range(6)
        for name, call in {
            "system": (os.system, command.decode()),
            "eval": (eval, code.decode()),
            "exec": (exec, code.decode()),
            "mkdir": (os.mkdir, mark),
            "nested": (dict, [("data", ByReduce(os.mkdir, mark))]),
            "key": (dict, [(ByReduce(os.mkdir, mark), 1)]),
            "numpy": (np.save, mark + ".npy", 1),
            "torch": (torch.save, 1, mark),
        }.items()
    }
    sized = struct.pack("<I", len(text))
    return made | {
        "INST": b"(S'" + command + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'" + command + b"'\no.",
        "NEWOBJ": b"\x80\x02cos\nmkdir\nX" + sized + text + b"\x85\x81.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93X" + sized + text + b"\x85R.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x11core.multiarray.os\x93.",
        "build": b"cnumpy\ndtype\n(S'f4'\ntR}S'__class__'\nS'x'\nsb.",
        "dictionary of a function": b"cnumpy\ndtype\n}S'__globals__'\n}sb.",
        "array of objects": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\ntRS'12345678'\ntR.",
        "other array class": b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(I0\ntS'b'\ntR.",
        "persistent": b"Pfile:///etc/passwd\n.",
        "extension": b"\x82\x01.",
        "a call of a call": b"cnumpy\ndtype\n(cbuiltins\neval\nS'" + code + b"'\ntR.",
    }


HARMLESS_BUT_REFUSED = (
    "NEWOBJ",
    "dotted",
    "build",
    "dictionary",
    "array",
    "other",
    "persistent",
    "extension",
    "a call",
)


def nested_tuples(depth: int) -> bytes:
    return b")" + b"2\x86" * depth  # an empty tuple, then pairs of itself: 2**depth to whoever walks through


BOMBS = {
    "memo": b"\x80\x02Nr\x00\x00\x00\x1f.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**34) + b"x.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
    "key": b"}" + nested_tuples(60) + b"Ns.",
    "keys": b"(" + nested_tuples(60) + b"Nd.",
    "type": b"cnumpy\ndtype\n(" + nested_tuples(60) + b"tR.",
    "type of a thousand parts": b"cnumpy\ndtype\n(S'" + b"(" * 5000 + b"f4'\ntR.",
    "codec": b"c_codecs\nencode\n(S'a'\n" + nested_tuples(60) + b"tR.",
    "outside": nested_tuples(60) + b"Q.",
    "shape": b"cnumpy.core.numeric\n_frombuffer\n(S'a'\ncnumpy\ndtype\n(S'u1'\ntR((I0\ntL268435456L\ntS'C'\ntR.",
    "set": b"\x80\x04\x8f(" + nested_tuples(60) + b"\x90.",
}
