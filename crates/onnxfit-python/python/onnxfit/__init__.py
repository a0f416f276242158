"""Make an ONNX model fit the GPU memory it has, and never run out of it again.

``InferenceSession`` takes the place of ``onnxruntime.InferenceSession``; ``check``, ``fix`` and the
other verbs answer as the command ``onnxfit`` does, as objects; ``explained`` turns an error of ONNX
Runtime's about memory into one that says what it means.
"""

from ._errors import Error, OutOfMemoryError, explained
from ._native import __version__
from ._session import InferenceSession
from ._verbs import (
    Answer,
    check,
    convert,
    deploy,
    distill,
    explain,
    fix,
    measure,
    prune,
    quantize,
    recommend,
    run,
    split,
    train,
)

__all__ = [
    "Answer",
    "Error",
    "InferenceSession",
    "OutOfMemoryError",
    "__version__",
    "check",
    "convert",
    "deploy",
    "distill",
    "explain",
    "explained",
    "fix",
    "measure",
    "prune",
    "quantize",
    "recommend",
    "run",
    "split",
    "train",
]
