"""The command ``onnxfit``."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Optional


def program() -> Optional[str]:
    """The script that starts the command, which starts itself again as a worker."""
    beside = Path(sys.executable).with_name("onnxfit")
    if beside.is_file():
        return str(beside)
    return shutil.which("onnxfit")


def find_library() -> None:
    """Names this environment's ONNX Runtime, unless another was named.

    The package is found, not imported: that would load the library before it is needed.
    """
    if "ORT_DYLIB_PATH" in os.environ:
        return
    from importlib.util import find_spec

    spec = find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for library in sorted(Path(folder, "capi").glob("libonnxruntime.so*")):
            os.environ["ORT_DYLIB_PATH"] = str(library)
            return


def main() -> None:
    """Runs the command and ends the process with its exit code."""
    from . import _native

    # Interrupting ends the process at once: what it writes appears whole or not at all.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    find_library()
    sys.exit(_native.main(["onnxfit", *sys.argv[1:]], program()))
