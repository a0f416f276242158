"""Writes operators.csv: which operator takes float16 and bfloat16 where, and who has a kernel for it.

    python operators.py OperatorKernels.md > operators.csv

Signatures of ONNX's own operators come from the `onnx` package, those of `com.microsoft` from the
`onnxruntime` wheel, kernels from `docs/OperatorKernels.md` of the ONNX Runtime source (not shipped
in the wheel). A row is

    domain,operator,since,inputs,outputs,types

A slot is the name of a type variable, `float`, or `-` for anything that is never float; `*` marks
the last slot of a list, `~` a list whose members may differ in type. Each type variable that may be
float is followed by letters: `h` float16 allowed, `H` and a kernel exists, `b`/`B` the same for
bfloat16, `s` sequences or optionals allowed too.
"""

import re
import sys

import onnx.defs
import onnxruntime.capi.onnxruntime_pybind11_state as ort

LATEST = 10**6
HALVES = {"h": "tensor(float16)", "b": "tensor(bfloat16)"}


def kernels(path):
    """{provider: {(domain, op): [(first, last, {type variable: {types}})]}}"""
    found, provider, domain, name = {}, None, "", ""
    for line in open(path):
        if match := re.match(r"## Operators implemented by (\w+)ExecutionProvider", line):
            provider = found.setdefault(match[1], {})
        elif match := re.match(r"\|\*\*Operator Domain:\*\* \*(.*?)\*", line):
            domain = "" if match[1] == "ai.onnx" else match[1]
        elif provider is not None and line.startswith("|") and line.count("|") >= 5:
            cells = line.strip().strip("|").split("|") if not line.startswith("|||") else ["", ""] + line[3:].split("|")
            if len(cells) < 4 or cells[0].startswith(("Op Name", "-")):
                continue
            name = cells[0] or name
            span = cells[2].strip()
            if match := re.fullmatch(r"\[(\d+), (\d+)\]", span):
                first, last = int(match[1]), int(match[2])
            elif span.endswith("+"):
                first, last = int(span[:-1]), LATEST
            elif span.isdigit():
                first = last = int(span)
            else:
                continue
            types = {m[0]: set(re.findall(r"tensor\(\w+\)", m[1])) for m in re.findall(r"\*\*(\w+)\*\* = ([^*]*)", cells[3])}
            provider.setdefault((domain, name), []).append((first, last, types))
    return found


def has_kernel(found, key, since, until, variable, kind, is_function):
    def registered(provider):
        rows = [r for r in found[provider].get(key, []) if r[0] < until and r[1] >= since]
        return [row[2].get(variable) for row in rows]

    on_cuda, on_cpu = registered("CUDA"), registered("CPU")
    takes = lambda rows: any(types is None or kind in types for types in rows)
    if on_cuda:
        return takes(on_cuda)
    return takes(on_cpu) if on_cpu else is_function


def slot(parameter, variables, text):
    text = text.replace("FormalParameterOption.", "").split(".")[-1]
    kind = parameter.type_str if hasattr(parameter, "type_str") else parameter.typeStr
    token = kind if kind in variables else "float" if kind == "tensor(float)" else "-"
    if text.lower() == "variadic":
        homogeneous = parameter.is_homogeneous if hasattr(parameter, "is_homogeneous") else parameter.isHomogeneous
        token += "*" if homogeneous else "~"
    return token


def main():
    found = kernels(sys.argv[1])
    rows, versions = [], {}
    schemas = []
    for s in onnx.defs.get_all_schemas_with_history():
        if s.domain in ("", "ai.onnx.ml") and not s.deprecated:
            constraints = [(c.type_param_str, c.allowed_type_strs) for c in s.type_constraints]
            schemas.append((s.domain, s.name, s.since_version, s.inputs, s.outputs, constraints, s.has_function or s.has_context_dependent_function))
    for s in ort.get_all_operator_schema():
        if s.domain == "com.microsoft":
            constraints = [(c.type_param_str, c.allowed_type_strs) for c in s.type_constraints]
            schemas.append((s.domain, s.name, s.since_version, s.inputs, s.outputs, constraints, False))
    for domain, name, since, *_ in schemas:
        versions.setdefault((domain, name), []).append(since)
    for domain, name, since, inputs, outputs, constraints, is_function in schemas:
        until = min((v for v in versions[domain, name] if v > since), default=LATEST)
        types = []
        for variable, allowed in constraints:
            if "tensor(float)" not in allowed:
                continue
            letters = ""
            for letter, kind in HALVES.items():
                if kind in allowed:
                    letters += letter
                    if has_kernel(found, (domain, name), since, until, variable, kind, is_function):
                        letters += letter.upper()
            if any(not kind.startswith("tensor(") for kind in allowed):
                letters += "s"
            types.append((variable, letters))
        variables = {variable for variable, _ in types}
        slots = [" ".join(slot(p, variables, str(p.option)) for p in side) for side in (inputs, outputs)]
        rows.append((domain, name, since, *slots, ";".join(f"{v}={l}" for v, l in types)))
    for row in sorted(rows):
        print(*row, sep=",")


main()
