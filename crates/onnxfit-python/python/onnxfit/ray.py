"""Ray Data: a model over a dataset, as many rows at once and as many workers on a GPU as fit.

.. code-block:: python

    import ray, onnxfit.ray

    images = ray.data.read_parquet("s3://bucket/images")
    answers = onnxfit.ray.predict(images, "model.onnx", on="g4dn.xlarge", dim={"height": 224, "width": 224})

The twin says how many rows of one batch fit, and how many processes fit a GPU beside each other; each
worker holds a guarded session, so a batch that does not fit after all is cut. A worker that dies is
started again by Ray, which gives its batch to another: nothing is lost, and nothing is answered twice.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np

from . import _verbs
from ._errors import Error
from ._session import InferenceSession

PathLike = Union[str, "os.PathLike[str]"]

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a model is spread over workers; what Ray has to be told."""

    rows: int
    """Rows of one batch."""
    workers_per_gpu: int
    """Processes that fit one GPU beside each other; 0 where none is used."""
    peak_bytes: int
    """What one worker takes of its device."""
    host_bytes: int
    """What one worker takes of the host's memory."""
    threads: int
    """Processors of a worker that uses no GPU."""

    @property
    def num_gpus(self) -> float:
        """The share of a GPU that one worker books."""
        if self.workers_per_gpu == 0:
            return 0.0
        # Rounded down, as Ray counts in ten-thousandths: all must fit together.
        return math.floor(10_000 / self.workers_per_gpu) / 10_000

    def options(self, workers: int) -> dict[str, Any]:
        """Arguments of ``Dataset.map_batches`` for so many workers."""
        resources: dict[str, Any] = {"num_gpus": self.num_gpus} if self.workers_per_gpu else {"num_cpus": self.threads}
        return {"batch_size": self.rows, "concurrency": workers, **resources}


def plan(
    model: PathLike,
    *,
    on: str,
    dim: Optional[Mapping[str, int]] = None,
    provider: str = "cuda",
    threads: int = 1,
    **options: Any,
) -> Plan:
    """Asks the twin; raises :class:`onnxfit.Error` if not even one row fits.

    :param on: one machine of the cluster: ``"g4dn.xlarge"``, ``"T4"``, ``"14GiB"``.
    :param dim: sizes of the model's dimensions; that of the batch is how many rows are wanted.
    """
    answer = _verbs.deploy(model, on=on, dim=dim, provider=provider, threads=threads, **options)
    if not answer:
        raise Error(str(answer).splitlines()[0], "a larger GPU, or what `onnxfit fix` proposes")
    return Plan(
        rows=answer["rows_max"] or 1,
        workers_per_gpu=answer["processes_max"] if provider == "cuda" else 0,
        peak_bytes=answer.instance_bytes.high,
        host_bytes=answer["host_bytes"],
        threads=threads,
    )


class Predictor:
    """A worker of ``Dataset.map_batches``: a guarded session that answers batches of columns.

    :param model: the model file; every worker must be able to read it.
    :param columns: the column that feeds an input, where their names differ: ``{"input": "image"}``.
    :param keep: columns to pass on; by default all that feed no input.
    :param options: arguments of :class:`onnxfit.InferenceSession`.
    """

    def __init__(
        self,
        model: PathLike,
        *,
        providers: Optional[Sequence[Any]] = None,
        columns: Optional[Mapping[str, str]] = None,
        keep: Optional[Sequence[str]] = None,
        **options: Any,
    ) -> None:
        self._session = InferenceSession(os.fspath(model), providers=list(providers or [_CPU]), **options)
        self._columns = dict(columns or {})
        self._keep = None if keep is None else list(keep)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feed: dict[str, np.ndarray] = {}
        used = set()
        for wanted in self._session.get_inputs():
            column = self._columns.get(wanted.name, wanted.name)
            if column not in batch:
                has = ", ".join(batch)
                raise Error(f"no column `{column}` for the input `{wanted.name}`; there are {has}", "name it in `columns`")
            feed[wanted.name] = _as_input(column, batch[column], wanted.type)
            used.add(column)
        n_rows = len(next(iter(feed.values())))
        answers = dict(zip(self._outputs, self._session.run(None, feed)))
        for name, answer in answers.items():
            if np.ndim(answer) == 0 or len(answer) != n_rows:
                raise Error(f"the output `{name}` has no row for each of the {n_rows} rows")
        kept = [name for name in batch if name not in used] if self._keep is None else self._keep
        return {**{name: batch[name] for name in kept}, **answers}


def predict(
    dataset: Any,
    model: PathLike,
    *,
    on: str,
    dim: Optional[Mapping[str, int]] = None,
    workers: Optional[int] = None,
    provider: str = "cuda",
    threads: int = 1,
    columns: Optional[Mapping[str, str]] = None,
    keep: Optional[Sequence[str]] = None,
    batch_dim: Optional[str] = None,
) -> Any:
    """A model over a ``ray.data.Dataset``; returns the dataset of its answers, lazily as Ray does.

    :param workers: how many; by default as many as fit the GPUs of the cluster that is running.
    """
    how = plan(model, on=on, dim=dim, provider=provider, threads=threads, batch_dim=batch_dim)
    if workers is None:
        workers = _workers(how)
    arguments = {
        "providers": [_CUDA, _CPU] if provider == "cuda" else [_CPU],
        "columns": columns,
        "keep": keep,
        "batch_dim": batch_dim,
        "memory_limit": how.peak_bytes if provider == "cpu" else None,
    }
    return dataset.map_batches(
        Predictor,
        fn_constructor_args=[os.path.abspath(os.fspath(model))],
        fn_constructor_kwargs=arguments,
        batch_format="numpy",
        **how.options(workers),
    )


def _workers(how: Plan) -> int:
    import ray

    if not ray.is_initialized():
        ray.init()
    there = ray.cluster_resources()
    if how.workers_per_gpu:
        return max(1, int(there.get("GPU", 0)) * how.workers_per_gpu)
    return max(1, int(there.get("CPU", 1)) // how.threads - 1)


def _as_input(column: str, values: np.ndarray, wanted: str) -> np.ndarray:
    """A column in the element type that the model wants, if no value can change much by that."""
    kind = _NUMPY.get(wanted)
    values = np.asarray(values)
    if values.dtype == object and len(values) and kind not in (None, np.dtype(object)):
        # Rows that are arrays themselves come as objects.
        values = np.stack([np.asarray(row) for row in values])
    if kind is None or values.dtype == kind or kind == np.dtype(object):
        return values
    if not np.can_cast(values.dtype, kind, "same_kind"):
        raise Error(f"the column `{column}` holds {values.dtype}, and the model wants {kind}")
    return values.astype(kind)


_NUMPY = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint64)": np.dtype(np.uint64),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(string)": np.dtype(object),
}
