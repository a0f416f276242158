"""Image models of `torchvision`, `timm` and `transformers`, small, with random weights."""

import timm
import torch
import torchvision
import transformers as hf

from exporting import Case

FREE = {"pixels": ("float", ["batch", 3, "height", "width"])}
IMAGES = [{"batch": 1, "height": 96, "width": 128}, {"batch": 3, "height": 64, "width": 64}]


def fixed(side, *batches):
    return {"pixels": ("float", ["batch", 3, side, side])}, [{"batch": batch} for batch in batches]


def tv(name, **options):
    return lambda: getattr(torchvision.models, name)(weights=None, **options)


def segmentation(name, **options):
    return lambda: getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, **options)


class Pixels(torch.nn.Module):
    def __init__(self, model, drop=()):
        super().__init__()
        self.model = model

    def forward(self, pixels):
        return self.model(pixel_values=pixels)


def of_config(config, kind=hf.AutoModel):
    return lambda: Pixels(kind.from_config(config, attn_implementation="eager"))


def plain(config, kind=hf.AutoModel):
    return lambda: Pixels(kind.from_config(config))


def catalogue():
    for name in ("efficientnet_v2_s", "regnet_x_400mf", "mnasnet0_5", "googlenet", "squeezenet1_1", "resnext50_32x4d", "wide_resnet50_2", "alexnet", "convnext_tiny", "mobilenet_v2"):
        options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        yield f"tv_{name}", Case(tv(name, **options), FREE, IMAGES[:1], opset=13 if "mnas" in name or "alex" in name else 17)
    for name in ("vit_b_32", "swin_v2_t", "maxvit_t"):
        inputs, sizes = fixed(224, 1)
        yield f"tv_{name}", Case(tv(name), inputs, sizes)
    yield "tv_lraspp", Case(segmentation("lraspp_mobilenet_v3_large"), FREE, IMAGES[:1], opset=16)
    yield "tv_deeplab_mobilenet", Case(segmentation("deeplabv3_mobilenet_v3_large"), FREE, IMAGES[:1], opset=14)
    video = {"pixels": ("float", ["batch", 3, 8, 64, 64])}
    yield "tv_r3d_18", Case(lambda: torchvision.models.video.r3d_18(weights=None), video, [{"batch": 1}])
    yield "tv_mvit", Case(lambda: torchvision.models.video.MViT(spatial_size=(64, 64), temporal_size=8, block_setting=[torchvision.models.video.mvit.MSBlockConfig(num_heads=1, input_channels=32, output_channels=32, kernel_q=[3, 3, 3], kernel_kv=[3, 3, 3], stride_q=[1, 1, 1], stride_kv=[1, 2, 2]), torchvision.models.video.mvit.MSBlockConfig(num_heads=2, input_channels=32, output_channels=64, kernel_q=[3, 3, 3], kernel_kv=[3, 3, 3], stride_q=[1, 2, 2], stride_kv=[1, 1, 1])], residual_pool=True, residual_with_cls_embed=False, rel_pos_embed=True, proj_after_attn=True), video, [{"batch": 1}])

    nets = {
        "ghostnet_100": 96, "mobilenetv4_conv_small": 96, "tf_efficientnetv2_b0": 96, "resnest14d": 96, "res2net50_14w_8s": 64,
        "dla34": 64, "hrnet_w18_small": 64, "repvgg_a0": 64, "fbnetc_100": 64, "mixnet_s": 64, "rexnet_100": 64,
        "cspresnet50": 64, "darknet53": 64, "vovnet39a": 64, "dpn68": 64, "skresnet18": 64, "ese_vovnet19b_dw": 64,
        "hardcorenas_a": 64, "tinynet_e": 96, "mobileone_s0": 64, "nfnet_l0": 64, "eca_resnet33ts": 64, "gcresnet33ts": 64,
        "selecsls42b": 64, "inception_next_tiny": 64, "convnextv2_atto": 64, "resnetv2_50": 64, "seresnet18": 64, "pvt_v2_b0": 64,
        "poolformer_s12": 64, "focalnet_tiny_srf": 64, "edgenext_xx_small": 64, "starnet_s1": 64, "fastvit_t8": 64,
    }
    for index, (name, side) in enumerate(nets.items()):
        inputs, sizes = fixed(side, 1, 3) if index % 4 == 0 else fixed(side, 2)
        yield f"timm_{name}", Case(lambda name=name: timm.create_model(name, pretrained=False), inputs, sizes, opset=(17, 15, 13, 18)[index % 4])
    transformers = {
        "deit_tiny_patch16_224": 224, "cait_xxs24_224": 224, "coat_tiny": 224, "crossvit_tiny_240": 240, "levit_128s": 224,
        "mobilevit_xxs": 64, "mobilevitv2_050": 64, "maxvit_rmlp_pico_rw_256": 256, "coatnet_pico_rw_224": 224, "convit_tiny": 224,
        "tnt_s_legacy_patch16_224": 224, "twins_pcpvt_small": 224, "visformer_tiny": 224, "xcit_nano_12_p16_224": 224,
        "swinv2_cr_tiny_ns_224": 224, "gmlp_s16_224": 224, "resmlp_12_224": 224, "eva02_tiny_patch14_224": 224, "vit_tiny_patch16_224": 224,
        "beit_base_patch16_224": 224, "efficientformer_l1": 224, "efficientformerv2_s0": 224, "efficientvit_b0": 224, "tiny_vit_5m_224": 224,
        "repvit_m0_9": 224, "nest_tiny": 224, "volo_d1_224": 224, "davit_tiny": 224, "hiera_tiny_224": 224, "botnet26t_256": 256,
        "halonet26t": 256, "lambda_resnet26t": 256, "sequencer2d_s": 224, "vit_relpos_small_patch16_224": 224,
    }
    for index, (name, side) in enumerate(transformers.items()):
        inputs, sizes = fixed(side, 1)
        yield f"timm_{name}", Case(lambda name=name: timm.create_model(name, pretrained=False, exportable=True), inputs, sizes, opset=(17, 14, 16, 18)[index % 4])

    small = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
    square, sizes = fixed(64, 1, 3)
    yield "hf_vit", Case(of_config(hf.ViTConfig(**small, image_size=64)), square, sizes)
    yield "hf_deit", Case(of_config(hf.DeiTConfig(**small, image_size=64)), square, sizes)
    yield "hf_beit", Case(of_config(hf.BeitConfig(**small, image_size=64, use_relative_position_bias=True)), square, sizes)
    yield "hf_dinov2", Case(of_config(hf.Dinov2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14)), FREE, [{"batch": 1, "height": 84, "width": 56}])
    yield "hf_swin", Case(of_config(hf.SwinConfig(image_size=64, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4)), FREE, IMAGES)
    yield "hf_swinv2", Case(plain(hf.Swinv2Config(image_size=64, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4)), square, sizes)
    segformer = hf.SegformerConfig(depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 40, 64], num_attention_heads=[1, 2, 4, 4], decoder_hidden_size=32)
    yield "hf_segformer", Case(plain(segformer, hf.AutoModelForSemanticSegmentation), FREE, IMAGES)
    yield "hf_mobilevit", Case(plain(hf.MobileViTConfig(image_size=64, hidden_sizes=[32, 40, 48], neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 64])), FREE, [{"batch": 1, "height": 64, "width": 64}])
    yield "hf_convnext", Case(plain(hf.ConvNextConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1])), FREE, IMAGES)
    yield "hf_poolformer", Case(plain(hf.PoolFormerConfig(hidden_sizes=[16, 32, 40, 64], depths=[1, 1, 1, 1])), FREE, IMAGES[:1])
    yield "hf_regnet", Case(plain(hf.RegNetConfig(hidden_sizes=[32, 48, 64, 96], depths=[1, 1, 2, 1], embedding_size=16, groups_width=16)), FREE, IMAGES[:1])
    yield "hf_dpt", Case(of_config(hf.DPTConfig(**small, image_size=64, neck_hidden_sizes=[16, 24, 32, 32], fusion_hidden_size=32, backbone_out_indices=[0, 1, 1, 1], readout_type="project"), hf.AutoModelForDepthEstimation), square, sizes)
    yield "hf_glpn", Case(plain(hf.GLPNConfig(depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 40, 64], num_attention_heads=[1, 2, 4, 4], decoder_hidden_size=32), hf.AutoModelForDepthEstimation), FREE, IMAGES[:1])
    yield "hf_vit_mae_like_yolos", Case(of_config(hf.YolosConfig(**small, image_size=[64, 64], num_detection_tokens=10), hf.AutoModelForObjectDetection), FREE, [{"batch": 1, "height": 64, "width": 64}])
    yield "hf_swin2sr", Case(plain(hf.Swin2SRConfig(image_size=32, embed_dim=24, depths=[2, 2], num_heads=[2, 2], window_size=4, upscale=2), hf.AutoModelForImageToImage), {"pixels": ("float", ["batch", 3, 32, 32])}, [{"batch": 1}, {"batch": 2}])
    yield "hf_upernet", Case(plain(hf.UperNetConfig(backbone_config=hf.ConvNextConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"]), hidden_size=32, auxiliary_in_channels=48), hf.AutoModelForSemanticSegmentation), FREE, IMAGES[:1])
    yield "hf_cvt", Case(plain(hf.CvtConfig(embed_dim=[16, 32, 48], depth=[1, 1, 2], num_heads=[1, 2, 3])), FREE, IMAGES[:1])
    yield "hf_rt_detr", Case(plain(hf.RTDetrConfig(backbone_config=hf.RTDetrResNetConfig(hidden_sizes=[32, 48, 64, 96], depths=[1, 1, 1, 1], layer_type="basic", embedding_size=16, out_features=["stage2", "stage3", "stage4"]), encoder_hidden_dim=32, encoder_in_channels=[48, 64, 96], encoder_ffn_dim=64, encoder_attention_heads=4, d_model=32, decoder_in_channels=[32, 32, 32], decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=64, num_queries=20, num_denoising=0), hf.AutoModelForObjectDetection), fixed(96, 1)[0], fixed(96, 1)[1])


def cases():
    for name, case in catalogue():
        yield name, case.write, case.variants()
