"""Models of other batches through the dynamo exporter."""

import torch

import language
import various
import vision

from exporting import Case

NAMES = [
    "llama", "qwen2", "gpt2", "bert", "t5", "bart", "opt", "roberta", "gpt_neox", "albert",
    "lstm_forward", "gru_both", "unet_transposed", "unet_bilinear", "vae", "tcn", "dlrm", "deepfm", "tabnet", "pointnet",
    "neighbours", "graph_network", "grid_sample_bilinear", "einsums", "mixture", "torch_encoder", "diffusion_block", "super_resolution", "mamba_unrolled",
    "tv_mobilenet_v2", "tv_efficientnet_v2_s", "tv_convnext_tiny", "tv_vit_b_32", "timm_ghostnet_100", "timm_mobilevit_xxs",
    "hf_vit", "hf_segformer", "hf_convnext", "hf_deit", "timm_levit_128s", "timm_maxvit_rmlp_pico_rw_256", "timm_edgenext_xx_small",
]

class Spectra(torch.nn.Module):
    """A Fourier filter, as neural operators have it."""

    def __init__(self):
        super().__init__()
        self.lift, self.weight = torch.nn.Linear(3, 8), torch.nn.Parameter(torch.rand(17, 8, 2))

    def forward(self, samples):
        x = self.lift(samples)
        parts = torch.view_as_real(torch.fft.rfft(x, dim=1))
        real = parts[..., 0] * self.weight[..., 0] - parts[..., 1] * self.weight[..., 1]
        imaginary = parts[..., 0] * self.weight[..., 1] + parts[..., 1] * self.weight[..., 0]
        return torch.fft.irfft(torch.complex(real, imaginary), dim=1, n=32) + x

def cases():
    known = {name: case for module in (various, language, vision) for name, case in module.catalogue()}
    known["spectra"] = Case(Spectra, {"samples": ("float", ["batch", 32, 3])}, [{"batch": 2}, {"batch": 4}])
    for index, name in enumerate(NAMES + ["spectra"]):
        case = known[name]
        # A size of one would be taken for a constant.
        sizes = [{dim: max(size, 2) for dim, size in one.items()} for one in case.sizes]
        case = Case(case.make, case.inputs, sizes, opset=(18, 20, 21)[index % 3], dynamo=True)
        yield name, case.write, case.variants()
