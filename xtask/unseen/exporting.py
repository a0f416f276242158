"""Writing PyTorch modules with either exporter."""

import inspect

import torch

# The exporter has no rule for the fused encoder layer.
torch.backends.mha.set_fastpath_enabled(False)


def example(kind, sizes, dims, high=90):
    """A made-up input: `ids`, `mask` or `float` of these dimensions, names looked up in the sizes."""
    shape = [sizes[dim] if isinstance(dim, str) else dim for dim in dims]
    if kind == "ids":
        return torch.randint(1, high, shape)
    if kind == "mask":
        return torch.ones(shape, dtype=torch.int64)
    return torch.rand(shape)


class Case:
    """A module, its inputs as `name: (kind, dims)`, and the sizes to try; the first is exported with."""

    def __init__(self, make, inputs, sizes, opset=17, dynamo=False, outputs=None):
        self.make, self.inputs, self.sizes = make, inputs, sizes
        self.opset, self.dynamo, self.outputs = opset, dynamo, outputs

    def arrays(self, sizes):
        torch.manual_seed(5)
        return {name: example(kind, sizes, dims) for name, (kind, dims) in self.inputs.items()}

    def write(self, path):
        torch.manual_seed(3)
        module = Tensors(self.make(), list(self.inputs)).eval()
        arrays = self.arrays(self.sizes[0])
        axes = {
            name: {axis: dim for axis, dim in enumerate(dims) if isinstance(dim, str)}
            for name, (_, dims) in self.inputs.items()
        }
        with torch.no_grad():
            if self.dynamo:
                module = named_arguments(module, len(arrays))
                batch = torch.export.Dim
                named = {}
                shapes = tuple(
                    {axis: named.setdefault(dim, batch.DYNAMIC) for axis, dim in axes[name].items()} for name in arrays
                )
                torch.onnx.export(
                    module, tuple(arrays.values()), path, input_names=list(arrays), opset_version=self.opset,
                    dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False,
                )
            else:
                torch.onnx.export(
                    module, tuple(arrays.values()), path, input_names=list(arrays), opset_version=self.opset,
                    dynamo=False, dynamic_axes=axes, do_constant_folding=True,
                )

    def variants(self):
        return [({}, self.arrays(sizes)) for sizes in self.sizes]


def named_arguments(module, n):
    """The same with a name for each argument: the guards of `torch.export` know no others."""
    names = ", ".join(f"given{index}" for index in range(n))
    made = {}
    exec(f"def forward(self, {names}):\n    return self.inner({names})", made)

    class Named(torch.nn.Module):
        forward = made["forward"]

        def __init__(self):
            super().__init__()
            self.inner = module

    return Named().eval()


class Tensors(torch.nn.Module):
    """Calls a module by names and flattens what it answers."""

    def __init__(self, module, names):
        super().__init__()
        self.module, self.names = module, names
        self.by_name = "kwargs" in inspect.signature(module.forward).parameters or all(
            name in inspect.signature(module.forward).parameters for name in names
        )

    def forward(self, *tensors):
        if self.by_name:
            answer = self.module(**dict(zip(self.names, tensors)))
        else:
            answer = self.module(*tensors)
        return tuple(flat(answer))


def flat(answer):
    if isinstance(answer, torch.Tensor):
        return [answer]
    if isinstance(answer, dict) or hasattr(answer, "values"):
        return [tensor for value in answer.values() for tensor in flat(value)]
    if isinstance(answer, (list, tuple)):
        return [tensor for value in answer for tensor in flat(value)]
    return []
