"""Models of other batches after `onnxruntime.transformers.optimizer`: attention and its kin as one node."""

from onnxruntime.transformers import optimizer

from written import earlier

KINDS = {
    "bert": ("bert", 4, 64), "roberta": ("bert", 4, 64), "electra": ("bert", 4, 64), "distilbert": ("bert", 4, 64),
    "albert": ("bert", 4, 64), "gpt2": ("gpt2", 4, 64), "gpt_neox": ("gpt_neox", 4, 64), "llama": ("gpt2", 4, 64),
    "mistral": ("phi", 4, 64), "phi": ("phi", 4, 64), "t5": ("t5", 4, 64), "bart": ("bart", 4, 64), "whisper": ("bart", 4, 64),
    "bert_opset13_cls": ("bert", 4, 64), "mpnet": ("bert", 4, 64), "bloom": ("gpt2", 4, 64), "opt": ("gpt2", 4, 64),
    "hf_vit": ("vit", 4, 64), "hf_deit": ("vit", 4, 64), "hf_swin": ("swin", 0, 0), "wav2vec2_conformer": ("conformer", 4, 64),
    "diffusion_block": ("unet", 0, 0), "torch_encoder": ("bert", 4, 32), "vae": ("vae", 0, 0), "camembert_qa": ("bert", 4, 64),
    "hubert": ("bert", 4, 64), "hf_beit": ("vit", 4, 64), "marian": ("bart", 4, 64), "xglm": ("gpt2", 4, 64),
}


def fused(source, kind, heads, width, half):
    def write(path):
        model = optimizer.optimize_model(source, model_type=kind, num_heads=heads, hidden_size=width, opt_level=0)
        if half:
            model.convert_float_to_float16(keep_io_types=True)
        model.save_model_to_file(path)

    return write


def cases():
    for batch in ("language", "vision", "various"):
        for index, (name, (source, variants)) in enumerate(earlier(batch, list(KINDS)).items()):
            yield f"{name}_fused", fused(source, *KINDS[name], False), variants
            if index % 6 == 0:
                yield f"{name}_fused_half", fused(source, *KINDS[name], True), variants
