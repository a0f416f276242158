"""``onnxruntime.InferenceSession`` with the guard inside.

What runs is ONNX Runtime's own session; what to run, in how large pieces, and what a failure means
is decided by the native guard.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any, Optional, Sequence, Union

import numpy as np
import onnxruntime

from . import _native
from ._errors import OutOfMemoryError, out_of_memory

_SHRINK = "memory.enable_memory_arena_shrinkage"
_LEVELS = {
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL: "disable",
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC: "basic",
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED: "extended",
}


class InferenceSession(onnxruntime.InferenceSession):
    """Takes the place of ``onnxruntime.InferenceSession``: same constructor, same methods.

    A request that does not fit is cut along its batch, where the graph allows it; when memory runs
    out all the same, what was lost is run again in smaller pieces. Only what cannot be made smaller
    raises :class:`onnxfit.OutOfMemoryError`.

    :param memory_limit: bytes that a run may take; by default ``gpu_mem_limit`` of the CUDA
        provider, if it is set.
    :param on: where it runs (``"g4dn.xlarge"``, ``"T4"``, ``"14GiB"``), which gives the limit.
    :param batch_dim: the dimension that the batch is, if its name does not tell.
    :param learned: a file to keep what is learned about the machine's memory.
    """

    def __init__(
        self,
        path_or_bytes: Union[str, bytes, "os.PathLike[str]"],
        sess_options: Optional[onnxruntime.SessionOptions] = None,
        providers: Optional[Sequence[Any]] = None,
        provider_options: Optional[Sequence[dict[Any, Any]]] = None,
        *,
        memory_limit: Optional[int] = None,
        on: Optional[str] = None,
        batch_dim: Optional[str] = None,
        learned: Optional[Union[str, "os.PathLike[str]"]] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(path_or_bytes, sess_options, providers, provider_options, **kwargs)
        self._guard: Optional[_native.Guard] = None
        self._why_unguarded: Optional[str] = None
        self._learned = learned
        options = self.get_provider_options()
        cuda = options.get("CUDAExecutionProvider")
        if memory_limit is None and cuda is not None:
            given = int(cuda.get("gpu_mem_limit", 0))
            memory_limit = given if 0 < given < 2**63 else None
        device = cuda.get("device_id", "0") if cuda is not None else "0"
        self._arena = f"gpu:{device}" if cuda is not None else "cpu:0"
        try:
            self._guard = _guard(
                path_or_bytes,
                cuda=cuda is not None,
                level=_LEVELS.get(sess_options.graph_optimization_level, "all") if sess_options else "all",
                mem_pattern=sess_options.enable_mem_pattern if sess_options else True,
                threads=(sess_options.intra_op_num_threads if sess_options else 0) or os.cpu_count() or 1,
                limit=memory_limit,
                on=on,
                batch_dim=batch_dim,
                learned=os.fspath(learned) if learned is not None else None,
                device=int(device) if cuda is not None else None,
            )
        except ValueError as error:
            # A model that only ONNX Runtime can read runs as it would there.
            if on is not None or batch_dim is not None:
                raise
            self._why_unguarded = str(error)
        self._names = self._guard.names if self._guard else []
        self._input_axes = (self._guard.input_axes or {}) if self._guard else {}
        self._output_axes = (self._guard.output_axes or {}) if self._guard else {}

    @property
    def guard_counts(self) -> dict[str, int]:
        """What the guard did so far: runs, runs in vain, shrinks."""
        return self._guard.counts() if self._guard else {}

    @property
    def guard_refusal(self) -> Optional[str]:
        """Why requests are not cut; ``None`` if they may be."""
        return self._guard.refusal if self._guard else self._why_unguarded

    def run(self, output_names: Optional[Sequence[str]], input_feed: dict[str, Any], run_options: Any = None) -> Any:
        job = self._begin(input_feed)
        if job is None:
            return self._once(lambda options: super(InferenceSession, self).run(output_names, input_feed, options), run_options)
        if job.is_whole:
            try:
                job.next()
                answer = super().run(output_names, input_feed, run_options)
            except Exception as error:
                self._failed(job, error)
            else:
                job.ran()
                return answer
        answer = self._pieces(job, output_names, input_feed, run_options)
        if self._learned is not None and self._guard is not None:
            self._guard.keep()
        return answer

    def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> Any:
        return self._once(
            lambda options: super(InferenceSession, self).run_with_iobinding(iobinding, options), run_options
        )

    def run_with_ort_values(self, output_names: Any, input_dict_ort_values: Any, run_options: Any = None) -> Any:
        return self._once(
            lambda options: super(InferenceSession, self).run_with_ort_values(
                output_names, input_dict_ort_values, options
            ),
            run_options,
        )

    def _begin(self, feed: dict[str, Any]) -> Optional[_native.Job]:
        if self._guard is None or len(feed) != len(self._names):
            return None
        shapes = []
        for name in self._names:
            value = feed.get(name)
            if not isinstance(value, np.ndarray):
                return None
            shapes.append(value.shape)
        return self._guard.begin(shapes)

    def _once(self, run: Any, run_options: Any) -> Any:
        """Runs what cannot be cut; after a failure once more, on an arena that gave back all it can."""
        try:
            return run(run_options)
        except Exception as error:
            if out_of_memory(str(error)) is None:
                raise
            self._shrink(run)
            try:
                return run(run_options)
            except Exception as again:
                raise (out_of_memory(str(again)) or again) from error

    def _failed(self, job: _native.Job, error: Exception) -> None:
        """Tells the guard of a failure; raises what it cannot do anything about."""
        verdict, message, node, op_type, requested, available = job.failed(str(error))
        if verdict == "again":
            return
        if verdict == "other":
            raise error
        raise OutOfMemoryError(
            message or str(error),
            node=node,
            op_type=op_type,
            requested_bytes=requested,
            available_bytes=available,
        ) from error

    def _pieces(self, job: _native.Job, names: Any, feed: dict[str, Any], run_options: Any) -> list[Any]:
        names = list(names) if names else [output.name for output in self.get_outputs()]
        axes = [self._output_axes.get(name) for name in names]
        answer = _Assembly(axes, job.rows)
        while True:
            piece = job.next()
            if piece is None:
                return answer.finish()
            start, end, shrink = piece
            part = {name: self._rows(name, value, start, end, job.rows) for name, value in feed.items()}
            try:
                if shrink:
                    self._shrink(lambda options: super(InferenceSession, self).run(names, part, options))
                answer.take(start, end, self._run_piece(names, part, answer.places(start, end), run_options))
            except Exception as error:
                self._failed(job, error)
            else:
                job.ran()

    def _rows(self, name: str, value: np.ndarray, start: int, end: int, rows: int) -> np.ndarray:
        axis = self._input_axes.get(name)
        if axis is None or (start, end) == (0, rows):
            return value
        each = value.shape[axis] // rows
        return value[(slice(None),) * axis + (slice(start * each, end * each),)]

    def _run_piece(
        self, names: list[str], part: dict[str, np.ndarray], places: Optional[list[np.ndarray]], run_options: Any
    ) -> Optional[list[Any]]:
        """Runs rows, straight into the places of their outputs where those are known."""
        bindable = places is not None and all(
            value.dtype.kind in "biufc" and value.flags.c_contiguous for value in part.values()
        )
        if not bindable or places is None:
            return super().run(names, part, run_options)
        binding = self.io_binding()
        for name, value in part.items():
            binding.bind_cpu_input(name, value)
        for name, place in zip(names, places):
            binding.bind_output(name, "cpu", 0, place.dtype.type, list(place.shape), place.ctypes.data)
        try:
            super().run_with_iobinding(binding, run_options)
        except Exception as error:
            if out_of_memory(str(error)) is not None:
                raise
            # Perhaps an output is not of the shape that it had in the first piece.
            return super().run(names, part, run_options)
        return None

    def _shrink(self, run: Any) -> None:
        """Makes the arena give back what it does not use: a run that stops before its first node."""
        options = onnxruntime.RunOptions()
        options.add_run_config_entry(_SHRINK, self._arena)
        options.terminate = True
        try:
            run(options)
        except Exception:
            # It says that it was told to stop, which is what was wanted.
            pass


class _Assembly:
    """Puts the outputs of pieces together, each row written once where that is possible."""

    def __init__(self, axes: list[Optional[int]], rows: int) -> None:
        self._axes = axes
        self._rows = rows
        self._whole: Optional[list[Any]] = None
        self._parts: list[list[Any]] = [[] for _ in axes]

    def places(self, start: int, end: int) -> Optional[list[np.ndarray]]:
        """Where the outputs of these rows belong, once that is known for all of them."""
        if self._whole is None or any(axis != 0 for axis in self._axes):
            return None
        places = []
        for whole in self._whole:
            if whole is None:
                return None
            each = whole.shape[0] // self._rows
            places.append(whole[start * each : end * each])
        return places

    def take(self, start: int, end: int, outputs: Optional[list[Any]]) -> None:
        """Takes outputs that have no place yet."""
        if outputs is None:
            return
        if self._whole is None:
            self._whole = [self._begin(output, axis, end - start) for output, axis in zip(outputs, self._axes)]
        for at, (output, axis) in enumerate(zip(outputs, self._axes)):
            whole = self._whole[at]
            if whole is not None:
                each = whole.shape[0] // self._rows
                whole[start * each : end * each] = output
            elif axis is not None or not self._parts[at]:
                self._parts[at].append(output)

    def _begin(self, output: Any, axis: Optional[int], n: int) -> Optional[np.ndarray]:
        if axis != 0 or not isinstance(output, np.ndarray) or output.dtype.kind not in "biufc":
            return None
        return np.empty((output.shape[0] // n * self._rows, *output.shape[1:]), output.dtype)

    def finish(self) -> list[Any]:
        """The outputs of all rows."""
        outputs = []
        for at, axis in enumerate(self._axes):
            whole = self._whole[at] if self._whole is not None else None
            if whole is not None:
                outputs.append(whole)
            elif axis is None or len(self._parts[at]) == 1:
                outputs.append(self._parts[at][0])
            else:
                outputs.append(np.concatenate(self._parts[at], axis=axis))
        return outputs


def _guard(path_or_bytes: Any, **options: Any) -> _native.Guard:
    if not isinstance(path_or_bytes, bytes):
        return _native.Guard(os.fspath(path_or_bytes), **options)
    with tempfile.TemporaryDirectory(prefix="onnxfit-") as folder:
        path = os.path.join(folder, "model.onnx")
        with open(path, "wb") as file:
            file.write(path_or_bytes)
        return _native.Guard(path, **options)
