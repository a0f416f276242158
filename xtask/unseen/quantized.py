"""Models of other batches, quantized by `onnxruntime.quantization`: dynamic, static both ways, by blocks."""

import onnx
from onnxruntime import quantization as tools
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from written import earlier

DYNAMIC = {
    "language": ["bert", "llama", "t5", "gpt2", "whisper", "wav2vec2_ctc", "albert", "bart", "distilbert", "xlm_roberta_tokens"],
    "various": ["lstm_both", "gru_forward", "dlrm", "tcn", "unet_transposed", "einsums"],
    "vision": ["hf_vit", "tv_mobilenet_v2", "hf_segformer", "hf_swin"],
}
STATIC = {
    "vision": ["tv_mobilenet_v2", "tv_efficientnet_v2_s", "hf_vit", "tv_squeezenet1_1", "timm_ghostnet_100", "tv_regnet_x_400mf", "tv_resnext50_32x4d", "hf_convnext", "timm_mobilenetv4_conv_small"],
    "various": ["unet_bilinear", "unet_transposed", "tcn", "super_resolution", "vae", "dlrm", "pointnet"],
    "language": ["bert", "distilbert", "gpt2", "wav2vec2_ctc"],
}
BLOCKS = {"language": ["llama", "bert", "gpt_neox", "t5", "qwen2", "opt"], "various": ["dlrm", "mixture"]}


class OneSample(tools.CalibrationDataReader):
    def __init__(self, arrays):
        self.left = [arrays]

    def get_next(self):
        return self.left.pop() if self.left else None


def dynamic(source, kind, **options):
    return lambda path: tools.quantize_dynamic(source, path, weight_type=kind, **options)


def static(source, arrays, form, per_channel, inputs, weights):
    return lambda path: tools.quantize_static(
        source, path, OneSample(arrays), quant_format=form, per_channel=per_channel, activation_type=inputs, weight_type=weights
    )


def by_blocks(source, bits, accuracy):
    def write(path):
        model = onnx.load(source)
        worker = MatMulNBitsQuantizer(model, bits=bits, block_size=32, is_symmetric=True, accuracy_level=accuracy)
        worker.process()
        onnx.save(worker.model.model, path)

    return write


def cases():
    signed, unsigned = tools.QuantType.QInt8, tools.QuantType.QUInt8
    for batch, names in DYNAMIC.items():
        for index, (name, (source, variants)) in enumerate(earlier(batch, names).items()):
            kind = (signed, unsigned)[index % 2]
            options = {"op_types_to_quantize": ["MatMul", "Gemm", "Attention", "LSTM", "Gather"]} if batch != "various" else {}
            yield f"{name}_dynamic", dynamic(source, kind, **options), variants
    for batch, names in STATIC.items():
        for index, (name, (source, variants)) in enumerate(earlier(batch, names).items()):
            arrays = variants[0][1]
            yield f"{name}_qdq", static(source, arrays, tools.QuantFormat.QDQ, index % 2 == 0, unsigned, signed), variants
            yield f"{name}_qoperator", static(source, arrays, tools.QuantFormat.QOperator, index % 2 == 1, unsigned, (unsigned, signed)[index % 2]), variants
            if index % 3 == 0:
                yield f"{name}_qdq_signed", static(source, arrays, tools.QuantFormat.QDQ, True, signed, signed), variants
    for batch, names in BLOCKS.items():
        for index, (name, (source, variants)) in enumerate(earlier(batch, names).items()):
            yield f"{name}_4bits", by_blocks(source, 4, (0, 4)[index % 2]), variants
            if index % 3 == 0:
                yield f"{name}_8bits", by_blocks(source, 8, 4), variants
