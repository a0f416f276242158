"""What can go wrong, in types that existing handlers of ONNX Runtime's errors catch too."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Iterator, Optional

from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

from . import _native


class Error(Exception):
    """A question that could not be answered; ``hint`` says what to do about it."""

    def __init__(self, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  hint: {hint}")
        self.hint = hint


class OutOfMemoryError(RuntimeException, Fail, MemoryError):
    """Memory ran out, and nothing smaller could be run.

    Caught by ``except MemoryError`` and by handlers of either type that ONNX Runtime raises for it.
    """

    def __init__(
        self,
        message: str,
        *,
        node: Optional[str] = None,
        op_type: Optional[str] = None,
        requested_bytes: Optional[int] = None,
        available_bytes: Optional[int] = None,
        explanation: Optional[dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.node = node
        self.op_type = op_type
        self.requested_bytes = requested_bytes
        self.available_bytes = available_bytes
        self.explanation = explanation


def out_of_memory(message: str) -> Optional[OutOfMemoryError]:
    """The explained error, if a message tells of memory."""
    is_oom, text_json, text = _native.explain(message)
    if not is_oom:
        return None
    facts = json.loads(text_json)
    return OutOfMemoryError(
        text.strip(),
        node=facts.get("node"),
        op_type=facts.get("op_type"),
        requested_bytes=facts.get("requested_bytes"),
        available_bytes=facts.get("available_bytes"),
        explanation=facts,
    )


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns any error about memory within into an :class:`OutOfMemoryError` that explains it.

    Other errors pass through as they are.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        told = out_of_memory(str(error))
        if told is None:
            raise
        raise told from error
