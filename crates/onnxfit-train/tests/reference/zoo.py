"""Writes ../data/zoo.json: gradients of whole architectures by PyTorch.

    python zoo.py FOLDER [NAME...]      (needs torch, onnx, numpy)

FOLDER has graphs without their weights, as `resnet18.onnx`. Weights and inputs are made up by
`noise`, in the same way as by the test that reads the file. The loss is the mean square of the
first output. Of each gradient the norm, the largest entry and a few entries are written.
"""
import json
import os
import sys
import time
import numpy as np
import onnx
import torch
import torch_onnx

N_PLACES = 6
SIZES = {
    "resnet18": dict(batch=2, height=64, width=64), "resnet50": dict(batch=2, height=64, width=64),
    "mobilenetv3_large": dict(batch=2, height=64, width=64), "efficientnet_b0": dict(batch=2, height=64, width=64),
    "densenet121": dict(batch=2, height=64, width=64), "fcn_resnet50": dict(batch=1, height=64, width=64),
    "deeplabv3_resnet50": dict(batch=1, height=64, width=64), "inception_v3": dict(batch=1, height=75, width=75),
    "shufflenet_v2": dict(batch=2, height=64, width=64), "lraspp_mobilenetv3": dict(batch=1, height=64, width=64),
    "regnet_y_8gf": dict(batch=1, height=64, width=64), "esrgan_x4_6b": dict(batch=1, height=16, width=12),
    "yolov8n": dict(batch=1, height=64, width=64), "detr_resnet50": dict(batch_size=1, num_channels=3, height=64, width=64),
    "yolos_tiny": dict(batch_size=1, num_channels=3, height=64, width=64),
    "distilbert_base_cls": dict(batch_size=2, sequence_length=7), "clip_vit_b32_text_ts": dict(batch=2, seq=7),
    "clip_vit_b32_vision_ts": dict(batch=1), "swin_t_dynamo": dict(s77=1), "timm_mixer_b16": dict(batch=1),
    "t5_small_encoder": dict(batch_size=2, encoder_sequence_length=6),
    "t5_small_decoder": dict(batch_size=2, encoder_sequence_length=6, decoder_sequence_length=5),
    "deberta_v3_base": dict(batch_size=2, sequence_length=6), "wav2vec2_base": dict(batch_size=1, sequence_length=1600),
    "wavenet_tcn": dict(batch=1, time=256), "bilstm_tagger": dict(batch=2, seq=6), "lstm_lm": dict(batch=2, seq=6),
    "light_squeezenet": {}, "light_shufflenet": {}, "light_resnet50": {}, "light_densenet121": {}, "light_inception_v1": {},
    "shipped_magika": dict(unk__214=2), "donut_swin_encoder": dict(batch_size=1, num_channels=3, height=64, width=64),
    "shipped_silero_vad_sequence": dict(sequence_length=2),
}


def noise(name, n):
    """Numbers in [-1, 1) that only depend on the name and the place."""
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = ((key ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(key) + np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def weight(name, dims):
    values = noise(name, int(np.prod(dims)))
    if len(dims) < 2:
        return (1 + 0.1 * values).astype(np.float32).astype(np.float64).reshape(dims)
    fan_in = dims[0] if len(dims) == 2 else int(np.prod(dims[1:]))
    return (values * np.float64(np.sqrt(3.0 / fan_in))).astype(np.float32).astype(np.float64).reshape(dims)


def fill(name, elem_type, shape):
    values = noise(name, int(np.prod(shape)))
    if elem_type == 7:
        if "mask" in name:
            return np.ones(shape, np.int64)
        return ((values + 1) * 20).astype(np.int64).reshape(shape)
    if elem_type == 6:
        return ((values + 1) * 20).astype(np.int32).reshape(shape)
    return values.astype(np.float32).astype(np.float64).reshape(shape)


def one(folder, name):
    model = onnx.load(os.path.join(folder, name + ".onnx"), load_external_data=False)
    sizes = SIZES[name]
    trained = []
    for t in model.graph.initializer:
        if t.data_location == onnx.TensorProto.EXTERNAL:
            if t.data_type == 1 and len(t.dims) > 0:
                trained.append(t.name)
                values = weight(t.name, list(t.dims)).astype(np.float32)
            elif t.data_type == 7:
                values = np.zeros(list(t.dims), np.int64)
            else:
                values = weight(t.name, list(t.dims)).astype({1: np.float32}[t.data_type])
            kept = t.name
            t.CopyFrom(onnx.numpy_helper.from_array(values, kept))
    stored = {t.name for t in model.graph.initializer}
    feeds = {}
    for i in model.graph.input:
        if i.name in stored:
            continue
        shape = [d.dim_value or sizes[d.dim_param] for d in i.type.tensor_type.shape.dim]
        feeds[i.name] = fill(i.name, i.type.tensor_type.elem_type, shape)
    started = time.time()
    values = torch_onnx.run(model, feeds, trained)
    output = model.graph.output[0].name
    loss = (values[output] ** 2).mean()
    grads = torch.autograd.grad(loss, [values[k] for k in trained], allow_unused=True)
    written = {}
    for k, g in zip(trained, grads):
        if g is None:
            continue
        g = g.numpy().reshape(-1)
        places = sorted({(i * 7919 + 13) % g.size for i in range(N_PLACES)})
        written[k] = [float(f"{x:.7g}") for x in [np.sqrt((g * g).sum()), np.abs(g).max(), *g[places]]]
    print(f"{name}: loss {loss.item():.6g}, {len(written)} of {len(trained)} gradients, {time.time() - started:.1f} s", file=sys.stderr)
    return dict(name=name, sizes=sizes, loss=float(f"{loss.item():.9g}"), gradients=written)


def main():
    folder, names = sys.argv[1], sys.argv[2:] or list(SIZES)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "zoo.json")
    found = {}
    if sys.argv[2:] and os.path.exists(path):
        found = {c["name"]: c for c in json.load(open(path))}
    for name in names:
        try:
            found[name] = one(folder, name)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
    with open(path, "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(c) for c in found.values()) + "\n]\n")


main()
