"""The native part: what decides. What runs is onnxruntime itself."""

import os
from typing import Optional, Sequence, Union

__version__: str

def main(arguments: list[str], program: Optional[str] = None) -> int: ...
def ask(arguments: list[str], program: Optional[str] = None) -> tuple[int, str, str, Optional[str], Optional[str]]: ...
def explain(message: str) -> tuple[Optional[bool], str, str]: ...

class Guard:
    names: list[str]
    input_axes: Optional[dict[str, int]]
    output_axes: Optional[dict[str, int]]
    refusal: Optional[str]
    limit_bytes: Optional[int]
    def __init__(
        self,
        model: Union[str, "os.PathLike[str]"],
        *,
        cuda: bool = False,
        level: str = "all",
        mem_pattern: bool = True,
        threads: int = 2,
        limit: Optional[int] = None,
        on: Optional[str] = None,
        batch_dim: Optional[str] = None,
        learned: Optional[str] = None,
        device: Optional[int] = None,
    ) -> None: ...
    def begin(self, shapes: Sequence[Sequence[int]]) -> Job: ...
    def bytes_needed(self, shapes: Sequence[Sequence[int]]) -> Optional[int]: ...
    def counts(self) -> dict[str, int]: ...
    def keep(self) -> Optional[str]: ...

class Job:
    is_whole: bool
    rows: int
    def next(self) -> Optional[tuple[int, int, bool]]: ...
    def ran(self) -> None: ...
    def failed(
        self, message: str
    ) -> tuple[str, Optional[str], Optional[str], Optional[str], Optional[int], Optional[int]]: ...
