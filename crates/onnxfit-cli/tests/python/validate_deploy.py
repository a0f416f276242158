"""Holds what `onnxfit deploy` and `split` write against the schemas of Triton, Kubernetes and SageMaker.

usage: validate_deploy.py triton CONFIG.PBTXT... | kubernetes MANIFEST | sagemaker FOLDER

Prints what was read back; exit code 3 if no package that brings the schema is installed, 1 with what is
wrong if it does not hold. Kubernetes and SageMaker are held against the full schema where it is installed
(`kubernetes-validate`, `botocore`: 108 and 31 MB), and otherwise against the types that are made from it
(`lightkube-models`, `mypy-boto3-sagemaker`: 2 MB together), which know names, types, enumerations and what
must be there, but neither patterns nor lengths.
"""

import collections.abc
import dataclasses
import json
import pathlib
import sys
import types
import typing

try:
    from typing import NotRequired
except ImportError:  # before Python 3.11
    from typing_extensions import NotRequired


def missing(package):
    print(f"no {package}")
    sys.exit(3)


def triton(paths):
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2
    except ImportError:
        missing("tritonclient")
    for path in paths:
        text = pathlib.Path(path).read_text()
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        print(config.name, config.backend or config.platform, config.max_batch_size)
        for kind in ("input", "output"):
            for tensor in getattr(config, kind):
                name = model_config_pb2.DataType.Name(tensor.data_type)
                print(" ", kind, tensor.name, name, list(tensor.dims))
        for group in config.instance_group:
            print("  instances", group.count, group.Kind.Name(group.kind), list(group.gpus))
        if config.HasField("dynamic_batching"):
            print("  prefers", list(config.dynamic_batching.preferred_batch_size))
        for key in sorted(config.parameters):
            print(" ", key, "=", config.parameters[key].string_value)
        for step in config.ensemble_scheduling.step:
            print("  step", step.model_name, dict(step.input_map), "->", dict(step.output_map))


def kubernetes(path):
    try:
        import yaml
    except ImportError:
        missing("pyyaml")
    validate = kubernetes_by_schema() or kubernetes_by_types() or missing("kubernetes-validate, no lightkube-models")
    for document in yaml.safe_load_all(pathlib.Path(path).read_text()):
        validate(document)
        print(document["kind"], document["metadata"]["name"])
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            print("  node", json.dumps(pod.get("nodeSelector") or pod.get("affinity")))
            print("  limits", json.dumps(pod["containers"][0]["resources"]["limits"], sort_keys=True))


def kubernetes_by_schema():
    try:
        import kubernetes_validate
    except ImportError:
        return None
    version = kubernetes_validate.latest_version()
    return lambda document: kubernetes_validate.validate(document, version, strict=True)


def kubernetes_by_types():
    # The classes want a base from the client that uses them; plain dataclasses say as much.
    base = types.ModuleType("lightkube.core.schema")
    base.dataclass, base.field, base.DictMixin = dataclasses.dataclass, dataclasses.field, object
    sys.modules.setdefault("lightkube.core", types.ModuleType("lightkube.core"))
    sys.modules.setdefault("lightkube.core.schema", base)
    try:
        from lightkube.models import apps_v1, autoscaling_v2, core_v1
    except ImportError:
        return None
    kinds = {
        ("apps/v1", "Deployment"): apps_v1.Deployment,
        ("v1", "Service"): core_v1.Service,
        ("autoscaling/v2", "HorizontalPodAutoscaler"): autoscaling_v2.HorizontalPodAutoscaler,
    }

    def validate(document):
        kind = kinds.get((document.get("apiVersion"), document.get("kind")))
        assert kind, f"{document.get('apiVersion')} {document.get('kind')} is no kind that is written"
        fits(document, kind, document["kind"])

    return validate


def fits(value, wanted, path):
    """Holds a value against annotated types: dataclasses, typed dictionaries, lists, literals."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted in (typing.Any, object):
        return
    if origin is typing.Union:
        failures = []
        for option in arguments:
            try:
                return fits(value, option, path)
            except AssertionError as failure:
                failures.append(str(failure))
        raise AssertionError("; or ".join(failures))
    if origin is typing.Literal:
        assert value in arguments, f"{path}: {value!r} is none of {len(arguments)} values"
    elif origin in (list, collections.abc.Sequence):
        assert isinstance(value, list), f"{path} is no list"
        for at, part in enumerate(value):
            fits(part, arguments[0], f"{path}[{at}]")
    elif wanted is dict or origin in (dict, collections.abc.Mapping):
        assert isinstance(value, dict), f"{path} is no mapping"
        for key, part in value.items():
            fits(part, arguments[1] if arguments else typing.Any, f"{path}.{key}")
    elif dataclasses.is_dataclass(wanted) or hasattr(wanted, "__total__"):
        has_parts(value, wanted, path)
    else:
        wanted = {float: (int, float)}.get(wanted, wanted)
        right = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        assert right, f"{path}: {value!r} is not {wanted}"


def has_parts(value, wanted, path):
    hints = typing.get_type_hints(wanted, include_extras=True)
    if dataclasses.is_dataclass(wanted):
        names = {field.name: field.metadata.get("json", field.name) for field in dataclasses.fields(wanted)}
        needed = [field.name for field in dataclasses.fields(wanted) if field.default is dataclasses.MISSING]
    else:
        names = {name: name for name in hints}
        needed = [name for name, hint in hints.items() if typing.get_origin(hint) is not NotRequired]
    assert isinstance(value, dict), f"{path} is no mapping"
    for name in needed:
        assert names[name] in value, f"{path} lacks {names[name]}"
    known = {said: name for name, said in names.items()}
    for key, part in value.items():
        assert key in known, f"{path} has no {key}"
        hint = hints[known[key]]
        if typing.get_origin(hint) is NotRequired:
            (hint,) = typing.get_args(hint)
        fits(part, hint, f"{path}.{key}")


def sagemaker(folder):
    validate = sagemaker_by_service() or sagemaker_by_types() or missing("botocore, no mypy-boto3-sagemaker")
    for operation in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint"):
        name = "".join("-" + letter.lower() if letter.isupper() else letter for letter in operation).lstrip("-")
        validate(operation, json.loads(pathlib.Path(folder, f"{name}.json").read_text()))
        print(operation, "is valid")


def sagemaker_by_service():
    try:
        import botocore.session
        from botocore.validate import ParamValidator
    except ImportError:
        return None
    model = botocore.session.get_session().get_service_model("sagemaker")

    def validate(operation, request):
        shape = model.operation_model(operation).input_shape
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()
        strings(request, shape, operation)

    return validate


def sagemaker_by_types():
    try:
        from mypy_boto3_sagemaker import type_defs
    except ImportError:
        return None
    return lambda operation, request: fits(request, getattr(type_defs, f"{operation}InputTypeDef"), operation)


def strings(value, shape, path):
    """What botocore leaves to the service: enumerations and patterns."""
    import re

    if shape.type_name == "structure":
        for key, part in value.items():
            strings(part, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list":
        for part in value:
            strings(part, shape.member, path)
    elif shape.type_name == "string":
        assert not shape.enum or value in shape.enum, f"{path}: {value} is none of the enumeration"
        pattern = shape.metadata.get("pattern")
        assert not pattern or re.fullmatch(pattern, value), f"{path}: {value} is not {pattern}"


if __name__ == "__main__":
    system, *rest = sys.argv[1:]
    {"triton": triton, "kubernetes": lambda paths: kubernetes(*paths), "sagemaker": lambda paths: sagemaker(*paths)}[
        system
    ](rest)
