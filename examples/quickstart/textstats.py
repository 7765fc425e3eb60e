"""Says a few things about a text on standard input, as one line of JSON."""

# ruff: noqa: INP001, T201

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
import regex
import zstandard

LIBRARY = ctypes.CDLL(str(Path(sys.prefix) / "lib" / "libfingerprint.so"))
LIBRARY.fingerprint.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
LIBRARY.fingerprint.restype = ctypes.c_uint64
FINGERPRINT_OF_NOTHING = 0xCBF29CE484222325
SAMPLE = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 20


def describe(text: str) -> dict[str, object]:
    """Word count, usual length of a word, size when compressed, and a fingerprint."""
    data = text.encode()
    lengths = np.array([len(word) for word in regex.findall(r"\p{L}+", text)] or [0])
    return {
        "words": int(np.count_nonzero(lengths)),
        "median_length": float(np.median(lengths)),
        "compressed": len(zstandard.compress(data)),
        "fingerprint": f"{LIBRARY.fingerprint(data, len(data)):016x}",
    }


def find_faults() -> list[str]:
    """Which of the parts do not work."""
    found, packed = describe(SAMPLE), zstandard.compress(SAMPLE.encode())
    tests = {
        "regex": found["words"] == len(SAMPLE.split()),
        "numpy": found["median_length"] == float(len("Zwölf")),
        "zstandard": zstandard.decompress(packed).decode() == SAMPLE,
        "libfingerprint": LIBRARY.fingerprint(b"", 0) == FINGERPRINT_OF_NOTHING,
    }
    return [name for name, works in tests.items() if not works]


if __name__ == "__main__":
    if "--check" not in sys.argv[1:]:
        print(json.dumps(describe(sys.stdin.read())))
    elif faults := find_faults():
        sys.exit(f"not working: {', '.join(faults)}")
    else:
        print("all parts work")
