"""Holds what `onnxfit deploy` and `split` write against the schemas of Triton, Kubernetes and SageMaker.

usage: validate_deploy.py triton CONFIG.PBTXT... | kubernetes MANIFEST | sagemaker FOLDER

Prints what was read back; exit code 3 if the package that brings the schema is not installed.
"""

import json
import pathlib
import sys


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
        import kubernetes_validate
        import yaml
    except ImportError:
        missing("kubernetes-validate")
    for document in yaml.safe_load_all(pathlib.Path(path).read_text()):
        version = kubernetes_validate.latest_version()
        kubernetes_validate.validate(document, version, strict=True)
        print(document["kind"], document["metadata"]["name"])
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            print("  node", json.dumps(pod.get("nodeSelector") or pod.get("affinity")))
            print("  limits", json.dumps(pod["containers"][0]["resources"]["limits"], sort_keys=True))


def sagemaker(folder):
    try:
        import botocore.session
        from botocore.validate import ParamValidator
    except ImportError:
        missing("botocore")
    model = botocore.session.get_session().get_service_model("sagemaker")
    for operation in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint"):
        name = "".join("-" + letter.lower() if letter.isupper() else letter for letter in operation).lstrip("-")
        request = json.loads(pathlib.Path(folder, f"{name}.json").read_text())
        shape = model.operation_model(operation).input_shape
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()
        strings(request, shape, operation)
        print(operation, "is valid")


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
