"""The verbs of the command as functions; their answers as objects."""

from __future__ import annotations

import html
import json
import os
from typing import Any, Iterator, Mapping, Optional, Union

from . import _command, _native
from ._errors import Error

PathLike = Union[str, "os.PathLike[str]"]


class View(Mapping[str, Any]):
    """Part of an answer: the contract's JSON, its keys as attributes."""

    __slots__ = ("_facts",)

    def __init__(self, facts: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_facts", facts)

    def __getattr__(self, name: str) -> Any:
        try:
            return _view(self._facts[name])
        except KeyError:
            raise AttributeError(f"the answer has no `{name}`; it has {', '.join(self._facts)}") from None

    def __getitem__(self, name: str) -> Any:
        return _view(self._facts[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._facts]

    def __repr__(self) -> str:
        return f"View({json.dumps(self._facts)})"

    def to_dict(self) -> dict[str, Any]:
        """The plain JSON."""
        return dict(self._facts)


def _view(value: Any) -> Any:
    if isinstance(value, dict):
        return View(value)
    if isinstance(value, list):
        return [_view(item) for item in value]
    return value


class Answer(View):
    """What a verb answered. ``str()`` is what the command prints; true means yes (exit code 0)."""

    __slots__ = ("_code", "_text", "_verb")

    def __init__(self, verb: str, code: int, facts: Mapping[str, Any], text: str) -> None:
        super().__init__(facts)
        object.__setattr__(self, "_code", code)
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "_verb", verb)

    @property
    def exit_code(self) -> int:
        """0 yes, 1 no, 2 could not tell."""
        return self._code

    def __bool__(self) -> bool:
        return self._code == 0

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<onnxfit {self._verb}: {self._text.strip().splitlines()[0] if self._text.strip() else self._code}>"

    def _repr_html_(self) -> str:
        color = {0: "#1a7f37", 1: "#b42318"}.get(self._code, "#8a6d00")
        word = {0: "yes", 1: "no"}.get(self._code, "could not tell")
        return (
            f'<div style="border-left:4px solid {color};padding-left:8px">'
            f"<b>onnxfit {html.escape(self._verb)}</b>: {word}"
            f'<pre style="margin:4px 0;white-space:pre-wrap">{html.escape(self._text.rstrip())}</pre></div>'
        )


def _flags(options: Mapping[str, Any]) -> list[str]:
    flags: list[str] = []
    for name, value in options.items():
        flag = "--" + name.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            flags.append(flag)
        elif isinstance(value, Mapping):
            joint = ":" if name == "shape" else "="
            for key, part in value.items():
                part = ",".join(map(str, part)) if isinstance(part, (list, tuple)) else part
                flags += [flag, f"{key}{joint}{part}"]
        elif isinstance(value, (list, tuple)):
            for part in value:
                flags += [flag, os.fspath(part) if isinstance(part, os.PathLike) else str(part)]
        else:
            flags += [flag, os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
    return flags


def _ask(verb: str, *places: PathLike, **options: Any) -> Answer:
    _command.find_library()
    arguments = ["onnxfit", verb, *_flags(options), "--json", *map(os.fspath, places)]
    code, text_json, text, error, hint = _native.ask(arguments, _command.program())
    if error is not None:
        raise Error(error, hint)
    return Answer(verb, code, json.loads(text_json) if text_json else {}, text)


def check(model: PathLike, *, on: Optional[str] = None, dim: Optional[Mapping[str, int]] = None, **options: Any) -> Answer:
    """Does it fit, what holds the bytes, which node fails."""
    return _ask("check", model, on=on, dim=dim, **options)


def fix(
    model: PathLike,
    output: Optional[PathLike] = None,
    *,
    on: Optional[str] = None,
    dim: Optional[Mapping[str, int]] = None,
    **options: Any,
) -> Answer:
    """Makes it fit, proves it, writes model and session options; without an output it only plans."""
    return _ask("fix", model, on=on, dim=dim, output=output, dry_run=output is None, **options)


def convert(model: PathLike, output: PathLike, *, bf16: bool = False, **options: Any) -> Answer:
    """The same model in half precision, measured and verified."""
    half = not bf16 and "uint8_input" not in options
    return _ask("convert", model, output, fp16=half, bf16=bf16, **options)


def measure(model: PathLike, *, dim: Optional[Mapping[str, int]] = None, **options: Any) -> Answer:
    """A real run beside the prediction."""
    return _ask("measure", model, dim=dim, **options)


def recommend(model: PathLike, *, dim: Optional[Mapping[str, int]] = None, **options: Any) -> Answer:
    """The cheapest AWS instances it fits on."""
    return _ask("recommend", model, dim=dim, **options)


def run(model: PathLike, inputs: PathLike, output: PathLike, **options: Any) -> Answer:
    """Runs it over a file of inputs of any size, never out of memory."""
    return _ask("run", model, inputs=inputs, output=output, **options)


def quantize(model: PathLike, output: PathLike, **options: Any) -> Answer:
    """Fewer bits a number, as few as the answers allow."""
    return _ask("quantize", model, output, **options)


def prune(model: PathLike, output: PathLike, **options: Any) -> Answer:
    """Fewer channels, heads or weights."""
    return _ask("prune", model, output, **options)


def train(model: PathLike, **options: Any) -> Answer:
    """Learns from samples, on the memory that is there."""
    return _ask("train", model, **options)


def distill(*models: PathLike, **options: Any) -> Answer:
    """A student learns from a teacher."""
    return _ask("distill", *models, **options)


def deploy(model: PathLike, *, on: str, dim: Optional[Mapping[str, int]] = None, **options: Any) -> Answer:
    """What Triton, Kubernetes and SageMaker must be told, sized to fit; without a place to write to, the sizes."""
    return _ask("deploy", model, on=on, dim=dim, **options)


def split(model: PathLike, output: Optional[PathLike] = None, *, stages: int = 2, **options: Any) -> Answer:
    """A model too large for one GPU, in stages; without an output it only plans."""
    return _ask("split", model, stages=stages, output=output, dry_run=output is None, **options)


def explain(log: Union[str, BaseException, PathLike], **options: Any) -> Answer:
    """What an error means: a text, an exception, or a file of a log."""
    if isinstance(log, BaseException):
        log = str(log)
    if isinstance(log, str) and not ("\n" not in log and os.path.isfile(log)):
        is_oom, text_json, text = _native.explain(log)
        return Answer("explain", {True: 0, False: 1}.get(is_oom, 2), json.loads(text_json), text)
    return _ask("explain", log, **options)
