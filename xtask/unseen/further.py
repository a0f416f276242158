"""Families that no other batch has: detection heads, audio codecs, state spaces, experts, vision and language, cached steps, loops."""

import torch
import torch.nn.functional as F
import torchvision
import transformers as hf
from torch import nn

from exporting import Case

TEXT = {"input_ids": ("ids", ["batch", "seq"])}
SEQS = [{"batch": 1, "seq": 16}, {"batch": 3, "seq": 29}]
SMALL = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
TINY = dict(vocab_size=100, **SMALL)


class Called(nn.Module):
    """Calls a model with other names than its own and without a cache."""

    def __init__(self, model, names, **options):
        super().__init__()
        self.model, self.names, self.options = model, names, options

    def forward(self, *tensors):
        return self.model(**dict(zip(self.names, tensors)), **self.options)


def of(config, names, kind=hf.AutoModel, eager=True, **options):
    given = {"attn_implementation": "eager"} if eager else {}

    def make():
        model = kind.from_config(config, **given) if hasattr(kind, "from_config") else kind(config)
        return Called(model, names, **options)

    return make


def decoder(config):
    config.use_cache = False
    return of(config, ["input_ids"], hf.AutoModelForCausalLM)


def pixels(side, *batches):
    return {"pixels": ("float", ["batch", 3, side, side])}, [{"batch": batch} for batch in batches]


def detection(name, **options):
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, num_classes=5, **options)

        def forward(self, pixels):
            return tuple(value for found in self.model(list(pixels)) for value in found.values())

    return Detector


class Cached(nn.Module):
    """One step of a decoder with a cache that is given and handed back."""

    def __init__(self, config, layers, kind=hf.AutoModelForCausalLM):
        super().__init__()
        self.model, self.layers = kind.from_config(config, attn_implementation="eager"), layers

    def forward(self, input_ids, attention_mask, *past):
        cache = hf.DynamicCache()
        for layer in range(self.layers):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        answer = self.model(input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True)
        kept = answer.past_key_values
        return (answer.logits, *[tensor for layer in range(self.layers) for tensor in kept[layer]])


def cached(config, heads, width, layers=2, sizes=None):
    inputs = {"input_ids": ("ids", ["batch", "new"]), "attention_mask": ("mask", ["batch", "all"])}
    for layer in range(layers):
        for part in ("key", "value"):
            inputs[f"past_{layer}_{part}"] = ("float", ["batch", heads, "past", width])
    sizes = sizes or [{"batch": 1, "new": 1, "past": 12, "all": 13}, {"batch": 3, "new": 4, "past": 40, "all": 44}]
    return Case(lambda: Cached(config, layers), inputs, sizes)


class CrossBlock(nn.Module):
    def __init__(self, width, context, heads=4):
        super().__init__()
        self.norm, self.first, self.second = nn.GroupNorm(8, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = nn.Linear(width, width, bias=False), nn.Linear(context, width, bias=False), nn.Linear(context, width, bias=False)
        self.out, self.gate, self.down, self.heads = nn.Linear(width, width), nn.Linear(width, width * 4), nn.Linear(width * 2, width), heads

    def forward(self, x, context):
        batch, width, height, across = x.shape
        h = self.norm(x).permute(0, 2, 3, 1).reshape(batch, height * across, width)
        q, k, v = (part(into).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part, into in ((self.q, self.first(h)), (self.k, context), (self.v, context)))
        h = h + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        left, gate = self.gate(self.second(h)).chunk(2, -1)
        h = h + self.down(left * F.gelu(gate))
        return x + h.reshape(batch, height, across, width).permute(0, 3, 1, 2)


class Step(nn.Module):
    def __init__(self, n_in, n_out, time):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.GroupNorm(8, n_in), nn.Conv2d(n_in, n_out, 3, padding=1), nn.GroupNorm(8, n_out), nn.Conv2d(n_out, n_out, 3, padding=1)
        self.time, self.skip = nn.Linear(time, n_out), nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x, time):
        h = self.b(F.silu(self.a(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.skip(x) + self.d(F.silu(self.c(h)))


class Diffusion(nn.Module):
    """A conditioned denoiser, with residuals of a control net if it has one."""

    def __init__(self, control=False):
        super().__init__()
        self.enter, self.embed = nn.Conv2d(4, 32, 3, padding=1), nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 64))
        self.down = nn.ModuleList([Step(32, 32, 64), Step(32, 64, 64)])
        self.cross = nn.ModuleList([CrossBlock(32, 48), CrossBlock(64, 48)])
        self.shrink = nn.ModuleList([nn.Conv2d(32, 32, 3, 2, 1), nn.Conv2d(64, 64, 3, 2, 1)])
        self.middle, self.inner = Step(64, 64, 64), CrossBlock(64, 48)
        self.up, self.grow = nn.ModuleList([Step(128, 64, 64), Step(96, 32, 64)]), nn.ModuleList([nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)])
        self.last, self.out, self.control = nn.GroupNorm(8, 32), nn.Conv2d(32, 4, 3, padding=1), control
        if control:
            self.hint, self.zero = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(64, 64, 1)

    def forward(self, sample, step, states, hint=None):
        rate = torch.exp(torch.arange(16, device=sample.device) * -0.5)
        time = step[:, None].float() * rate[None]
        time = self.embed(torch.cat([time.sin(), time.cos()], -1))
        x, kept = self.enter(sample), []
        if self.control:
            x = x + self.hint(hint)
        for step_, cross, shrink in zip(self.down, self.cross, self.shrink):
            x = cross(step_(x, time), states)
            kept.append(x)
            x = shrink(x)
        x = self.inner(self.middle(x, time), states)
        if self.control:
            x = x + self.zero(x)
        for step_, grow, old in zip(self.up, self.grow, reversed(kept)):
            x = step_(torch.cat([grow(F.interpolate(x, scale_factor=2.0, mode="nearest")), old], 1), time)
        return self.out(F.silu(self.last(x)))


class Transducer(nn.Module):
    """Encoder, predictor and joint net of a speech transducer."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Sequential(nn.Conv2d(1, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU())
        self.encoder, self.into = nn.LSTM(64, 48, 2, batch_first=True), nn.Linear(16 * 19, 64)
        self.embed, self.predictor = nn.Embedding(50, 32), nn.LSTM(32, 48, 1, batch_first=True)
        self.left, self.right, self.out = nn.Linear(48, 40), nn.Linear(48, 40), nn.Linear(40, 50)

    def forward(self, frames, labels):
        cut = self.cut(frames[:, None])
        batch, width, time, bands = cut.shape
        cut = self.into(cut.transpose(1, 2).reshape(batch, time, width * bands))
        heard, said = self.encoder(cut)[0], self.predictor(self.embed(labels))[0]
        return self.out(torch.tanh(self.left(heard)[:, :, None] + self.right(said)[:, None])).log_softmax(-1)


class Conformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = __import__("torchaudio").models.Conformer(80, 4, 128, 2, 15)

    def forward(self, frames, lengths):
        return self.net(frames, lengths)


class Selective(nn.Module):
    """A state-space block whose scan is a loop over time."""

    def __init__(self):
        super().__init__()
        self.into, self.conv, self.parts = nn.Linear(24, 64), nn.Conv1d(32, 32, 4, padding=3, groups=32), nn.Linear(32, 2 + 16)
        self.time, self.a, self.d, self.out = nn.Linear(2, 32), nn.Parameter(torch.rand(32, 8)), nn.Parameter(torch.ones(32)), nn.Linear(32, 24)

    def forward(self, x):
        u, gate = self.into(x).chunk(2, -1)
        u = F.silu(self.conv(u.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
        step, b, c = self.parts(u).split([2, 8, 8], -1)
        step = F.softplus(self.time(step))
        decay = torch.exp(-step[..., None] * self.a.exp())
        drive = step[..., None] * b[:, :, None] * u[..., None]
        # A scan by logarithms, as exporters like it.
        total = torch.cumsum(torch.log(decay), 1)
        state = torch.cumsum(drive * torch.exp(-total), 1) * torch.exp(total)
        y = (state * c[:, :, None]).sum(-1) + self.d * u
        return self.out(y * F.silu(gate))


class Experts(nn.Module):
    """A sparse mixture whose tokens are sorted to their experts."""

    def __init__(self):
        super().__init__()
        self.embed, self.gate = nn.Embedding(100, 32), nn.Linear(32, 4)
        self.up, self.down = nn.Parameter(torch.rand(4, 32, 64)), nn.Parameter(torch.rand(4, 64, 32))

    def forward(self, tokens):
        x = self.embed(tokens).flatten(0, 1)
        weight, chosen = self.gate(x).softmax(-1).topk(2)
        y = torch.zeros_like(x)
        for expert in range(4):
            rows, slot = torch.where(chosen == expert)
            hidden = F.silu(x[rows] @ self.up[expert]) @ self.down[expert]
            y = y.index_add(0, rows, hidden * weight[rows, slot][:, None])
        return y.unflatten(0, tokens.shape)


class Messages(nn.Module):
    """Graph attention: scatter-reduced maxima and sums."""

    def __init__(self):
        super().__init__()
        self.lin, self.score, self.second = nn.Linear(8, 16), nn.Linear(32, 1), nn.Linear(16, 4)

    def forward(self, features, edges):
        x = self.lin(features)
        source, target = edges[0], edges[1]
        raw = F.leaky_relu(self.score(torch.cat([x[source], x[target]], -1)).squeeze(-1), 0.2)
        most = torch.zeros(x.shape[0]).scatter_reduce(0, target, raw, "amax")
        part = (raw - most[target]).exp()
        part = part / torch.zeros(x.shape[0]).scatter_add(0, target, part)[target]
        y = torch.zeros_like(x).index_add(0, target, part[:, None] * x[source])
        return self.second(F.elu(y))


class Boxes(nn.Module):
    """Suppression of boxes, then features cut out for those that are left."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()), nn.Conv2d(16, 5, 1)
        self.last = nn.Linear(16 * 9, 7)

    def forward(self, pixels):
        x = self.body(pixels)
        found = self.head(x)[0].flatten(1).t()
        corner = found[:, :2].sigmoid() * 40
        boxes, scores = torch.cat([corner, corner + found[:, 2:4].exp() * 4], 1), found[:, 4].sigmoid()
        keep = torchvision.ops.nms(boxes, scores, 0.5)[:20]
        cut = torchvision.ops.roi_align(x, [boxes[keep]], (3, 3), 0.25, 2)
        return self.last(cut.flatten(1)), boxes[keep], scores[keep]


class Resampled(nn.Module):
    def forward(self, pixels):
        small = F.interpolate(pixels, size=(24, 20), mode="bilinear", antialias=True, align_corners=False)
        cubic = F.interpolate(pixels, scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False)
        return small, cubic, F.interpolate(pixels, scale_factor=1.5, mode="bicubic", align_corners=False)


class Spoken(nn.Module):
    """A spectrogram by the transform itself, mel bands, a small net."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(256))
        self.register_buffer("bands", torch.rand(129, 40))
        self.net = nn.Sequential(nn.Conv1d(40, 32, 3, padding=1), nn.ReLU(), nn.Conv1d(32, 8, 3, padding=1))

    def forward(self, wave):
        parts = torch.stft(wave, 256, 64, window=self.window, center=False, return_complex=False)
        power = parts.pow(2).sum(-1)
        return self.net((power.transpose(1, 2) @ self.bands).clamp(min=1e-5).log().transpose(1, 2))


class Fourier(nn.Module):
    """Mixing by Fourier transforms along both axes, real parts kept."""

    def __init__(self):
        super().__init__()
        self.embed, self.up, self.down = nn.Embedding(100, 32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, tokens):
        x = self.embed(tokens)
        x = x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real
        return x + self.down(F.gelu(self.up(x)))


@torch.jit.script
def greedy(state: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, steps: int):
    kept = []
    for _ in range(steps):
        state = torch.tanh(state @ weight)
        kept.append(state @ out)
    return torch.stack(kept, 1)


@torch.jit.script
def windows(frames: torch.Tensor, weight: torch.Tensor):
    parts = torch.split(frames, 4, 1)
    made = []
    for part in parts:
        made.append(torch.relu(part @ weight))
    return torch.cat(made, 1)


@torch.jit.script
def growing(state: torch.Tensor, weight: torch.Tensor, steps: int):
    for step in range(steps):
        state = torch.cat([state, state[:, -1:] @ weight], 1)
    return state


class Scripted(nn.Module):
    def __init__(self, which):
        super().__init__()
        self.which, self.weight, self.out = which, nn.Parameter(torch.rand(16, 16) / 16), nn.Parameter(torch.rand(16, 30))

    def forward(self, frames):
        if self.which == "greedy":
            return greedy(frames[:, 0], self.weight, self.out, frames.shape[1])
        if self.which == "growing":
            return growing(frames, self.weight, 5)
        return windows(frames, self.weight)


class Latents(nn.Module):
    """A few latents that read a long input, over and over."""

    def __init__(self):
        super().__init__()
        self.latents, self.into = nn.Parameter(torch.rand(8, 32)), nn.Linear(12, 32)
        self.cross, self.own = nn.MultiheadAttention(32, 4, batch_first=True), nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)

    def forward(self, samples):
        given = self.into(samples)
        x = self.latents.expand(samples.shape[0], -1, -1)
        for _ in range(3):
            x = self.own(x + self.cross(x, given, given, need_weights=False)[0])
        return x.mean(1)


class Retention(nn.Module):
    """Linear attention with decay, in parallel form."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.norm = nn.Linear(32, 96), nn.Linear(32, 32), nn.GroupNorm(4, 32)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        at = torch.arange(x.shape[1])
        gap = (at[:, None] - at[None]).float()
        decay = torch.where(gap >= 0, 0.9 ** gap, torch.zeros(()))
        y = ((q @ k.transpose(-1, -2)) * decay) @ v
        y = y.transpose(1, 2).flatten(2)
        return self.out(self.norm(y.flatten(0, 1)).unflatten(0, x.shape[:2]))


class Codec(nn.Module):
    """Strided convolutions down, nearest codes, transposed convolutions up."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv1d(1, 16, 7, padding=3), nn.ELU(), nn.Conv1d(16, 32, 8, 4, 2), nn.ELU(), nn.Conv1d(32, 32, 8, 4, 2))
        self.codes = nn.Parameter(torch.rand(64, 32))
        self.up = nn.Sequential(nn.ConvTranspose1d(32, 32, 8, 4, 2), nn.ELU(), nn.ConvTranspose1d(32, 16, 8, 4, 2), nn.ELU(), nn.Conv1d(16, 1, 7, padding=3))

    def forward(self, wave):
        x = self.down(wave).transpose(1, 2)
        far = x.pow(2).sum(-1, keepdim=True) - 2 * x @ self.codes.t() + self.codes.pow(2).sum(-1)
        chosen = far.argmin(-1)
        return chosen, self.up(F.embedding(chosen, self.codes).transpose(1, 2))


def language():
    decoders = {
        "mixtral": hf.MixtralConfig(**TINY, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2),
        "qwen2_moe": hf.Qwen2MoeConfig(**TINY, num_key_value_heads=2, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=64),
        "olmoe": hf.OlmoeConfig(**TINY, num_experts=4, num_experts_per_tok=2),
        "mamba": hf.MambaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, state_size=8, expand=2),
        "phi3": hf.Phi3Config(**TINY, pad_token_id=0), "gemma2": hf.Gemma2Config(**TINY, num_key_value_heads=2, head_dim=16),
        "cohere": hf.CohereConfig(**TINY), "granite": hf.GraniteConfig(**TINY), "nemotron": hf.NemotronConfig(**TINY),
        "qwen3": hf.Qwen3Config(**TINY, num_key_value_heads=2, head_dim=16), "glm": hf.GlmConfig(**TINY, num_key_value_heads=2, head_dim=16, pad_token_id=0),
        "recurrent_gemma": hf.RecurrentGemmaConfig(**TINY, lru_width=64, attention_window_size=16), "persimmon": hf.PersimmonConfig(**TINY),
        "ctrl": hf.CTRLConfig(vocab_size=100, n_embd=64, dff=128, n_layer=2, n_head=4), "biogpt": hf.BioGptConfig(**TINY),
        "rwkv": hf.RwkvConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32),
    }
    for index, (name, config) in enumerate(decoders.items()):
        yield name, Case(decoder(config), TEXT, SEQS, opset=(17, 14, 18, 20)[index % 4])
    encoders = {
        "big_bird": hf.BigBirdConfig(**TINY, attention_type="original_full"), "layoutlm": hf.LayoutLMConfig(**TINY), "esm": hf.EsmConfig(**TINY, pad_token_id=0, position_embedding_type="rotary"),
        "canine": hf.CanineConfig(**SMALL, num_hash_buckets=64, local_transformer_stride=16), "megatron_bert": hf.MegatronBertConfig(**TINY), "rembert": hf.RemBertConfig(**TINY, input_embedding_size=32),
        "nezha_like_xmod": hf.XmodConfig(**TINY, languages=["en"], default_language="en"), "splinter": hf.SplinterConfig(**TINY), "ernie": hf.ErnieConfig(**TINY),
        "yoso": hf.YosoConfig(**TINY, use_expectation=True), "mra_like_roc_bert": hf.RoCBertConfig(**TINY, pronunciation_vocab_size=50, shape_vocab_size=50),
        "flaubert": hf.FlaubertConfig(n_words=100, vocab_size=100, emb_dim=64, n_layers=2, n_heads=4),
    }
    for index, (name, config) in enumerate(encoders.items()):
        yield name, Case(of(config, ["input_ids"]), TEXT, SEQS, opset=(17, 13, 16, 19)[index % 4])
    pair = {"input_ids": ("ids", ["batch", "seq"]), "decoder_input_ids": ("ids", ["batch", "out"])}
    pairs = [{"batch": 1, "seq": 16, "out": 5}, {"batch": 3, "seq": 29, "out": 11}]
    t5 = dict(vocab_size=100, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, use_cache=False)
    for name, config in {
        "longt5": hf.LongT5Config(**t5, local_radius=7), "umt5": hf.UMT5Config(**t5), "switch": hf.SwitchTransformersConfig(**t5, num_experts=4, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1),
        "blenderbot": hf.BlenderbotSmallConfig(vocab_size=100, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, use_cache=False),
        "plbart": hf.PLBartConfig(vocab_size=100, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, use_cache=False),
    }.items():
        yield name, Case(of(config, list(pair)), pair, pairs, opset=17)
    yield "cached_llama", cached(hf.LlamaConfig(**TINY, num_key_value_heads=2), 2, 16)
    yield "cached_gpt2", cached(hf.GPT2Config(vocab_size=100, n_embd=64, n_layer=2, n_head=4), 4, 16)
    yield "cached_qwen2", cached(hf.Qwen2Config(**TINY, num_key_value_heads=2), 2, 16)
    yield "cached_phi3", cached(hf.Phi3Config(**TINY, pad_token_id=0), 4, 16)


def sight():
    for name, side, options in (("fasterrcnn_mobilenet_v3_large_320_fpn", 96, dict(min_size=96, max_size=96)), ("fcos_resnet50_fpn", 96, dict(min_size=96, max_size=96)), ("maskrcnn_resnet50_fpn", 96, dict(min_size=96, max_size=96)), ("keypointrcnn_resnet50_fpn", 96, dict(min_size=96, max_size=96))):
        inputs, sizes = {"pixels": ("float", [1, 3, side, side])}, [{}]
        yield f"tv_{name}", Case(detection(name, **options), inputs, sizes, opset=16)
    yield "tv_raft_small", Case(lambda: Called(torchvision.models.optical_flow.raft_small(weights=None), ["image1", "image2"], num_flow_updates=2), {"first": ("float", [1, 3, 128, 128]), "second": ("float", [1, 3, 128, 128])}, [{}], opset=16)
    yield "tv_s3d", Case(lambda: torchvision.models.video.s3d(weights=None), {"pixels": ("float", ["batch", 3, 16, 224, 224])}, [{"batch": 1}], opset=17)
    yield "tv_inception", Case(lambda: torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=False), *pixels(96, 1), opset=11)
    yield "tv_shufflenet", Case(lambda: torchvision.models.shufflenet_v2_x0_5(weights=None), *pixels(64, 1, 3), opset=12)
    square, sizes = pixels(64, 1, 3)
    names = ["pixel_values"]
    vision = {
        "sam_encoder": (hf.SamVisionConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=64, patch_size=8, window_size=4, global_attn_indexes=[1], output_channels=32, mlp_dim=128), hf.models.sam.modeling_sam.SamVisionEncoder),
        "clip_vision": (hf.CLIPVisionConfig(**SMALL, image_size=64, patch_size=16), hf.AutoModel), "siglip_vision": (hf.SiglipVisionConfig(**SMALL, image_size=64), hf.AutoModel),
        "dinov2_registers": (hf.Dinov2WithRegistersConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=64, patch_size=16), hf.AutoModel),
        "hiera": (hf.HieraConfig(image_size=[64, 64], embed_dim=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 4]), hf.AutoModel), "vit_det": (hf.VitDetConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=64, window_size=2, window_block_indices=[0]), hf.AutoModel),
        "depth_anything": (hf.DepthAnythingConfig(backbone_config=hf.Dinov2Config(hidden_size=64, num_hidden_layers=4, num_attention_heads=4, image_size=56, patch_size=14, out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False), reassemble_hidden_size=64, neck_hidden_sizes=[16, 24, 32, 32], fusion_hidden_size=32, head_hidden_size=16, patch_size=14), hf.AutoModelForDepthEstimation),
        "pvt": (hf.PvtConfig(image_size=64, hidden_sizes=[16, 32, 40, 64], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 4]), hf.AutoModel), "bit": (hf.BitConfig(embedding_size=16, hidden_sizes=[32, 48, 64, 96], depths=[1, 1, 1, 1], num_groups=8), hf.AutoModel),
        "image_resnet": (hf.ResNetConfig(embedding_size=16, hidden_sizes=[32, 48, 64, 96], depths=[1, 1, 1, 1]), hf.AutoModel), "levit": (hf.LevitConfig(image_size=64, hidden_sizes=[32, 48, 64], num_attention_heads=[2, 2, 4], depths=[1, 1, 1], key_dim=[16, 16, 16]), hf.AutoModel),
        "superpoint": (hf.SuperPointConfig(encoder_hidden_sizes=[8, 16, 16, 16], decoder_hidden_size=32, descriptor_decoder_dim=32), hf.AutoModel), "swiftformer": (hf.SwiftFormerConfig(image_size=64, depths=[1, 1, 1, 1], embed_dims=[16, 24, 32, 48]), hf.AutoModel),
        "vit_msn": (hf.ViTMSNConfig(**SMALL, image_size=64), hf.AutoModel), "focalnet": (hf.FocalNetConfig(image_size=64, embed_dim=16, depths=[1, 1, 1, 1]), hf.AutoModel),
    }
    for index, (name, (config, kind)) in enumerate(vision.items()):
        side = (56, (1, 2)) if name == "depth_anything" else (64, (1, 3))
        inputs, sizes = pixels(side[0], *side[1])
        yield f"hf_{name}", Case(of(config, names, kind, eager=name not in ("pvt", "bit", "image_resnet", "levit", "swiftformer", "focalnet", "superpoint", "depth_anything")), inputs, sizes, opset=(17, 18, 16, 14)[index % 4])
    detr = dict(use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=hf.ResNetConfig(embedding_size=16, hidden_sizes=[32, 48, 64, 96], depths=[1, 1, 1, 1], out_features=["stage4"]), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=10)
    yield "hf_detr", Case(of(hf.DetrConfig(**detr), names, hf.AutoModelForObjectDetection), *pixels(96, 1), opset=17)
    conditional = dict(detr, backbone=None)
    yield "hf_conditional_detr", Case(of(hf.ConditionalDetrConfig(**conditional), names, hf.AutoModelForObjectDetection, eager=False), *pixels(96, 1), opset=17)
    deformable = dict(conditional, encoder_n_points=2, decoder_n_points=2)
    deformable["backbone_config"] = hf.ResNetConfig(embedding_size=16, hidden_sizes=[32, 48, 64, 96], depths=[1, 1, 1, 1], out_features=["stage2", "stage3", "stage4"])
    yield "hf_deformable_detr", Case(of(hf.DeformableDetrConfig(**deformable, num_feature_levels=3), names, hf.AutoModelForObjectDetection, eager=False), *pixels(96, 1), opset=17)
    frames = {"frames": ("float", ["batch", 4, 3, 32, 32])}
    yield "timesformer", Case(of(hf.TimesformerConfig(**SMALL, image_size=32, num_frames=4), names, eager=False), frames, [{"batch": 1}, {"batch": 2}])
    yield "vivit", Case(of(hf.VivitConfig(**SMALL, image_size=32, num_frames=4, tubelet_size=[2, 8, 8]), names), frames, [{"batch": 1}, {"batch": 2}])
    yield "videomae", Case(of(hf.VideoMAEConfig(**SMALL, image_size=32, num_frames=4), names), frames, [{"batch": 1}, {"batch": 2}], opset=14)
    both = {"input_ids": ("ids", ["batch", "seq"]), "pixel_values": ("float", ["images", 3, 32, 32])}
    clip = hf.CLIPConfig(text_config=dict(**TINY, max_position_embeddings=40), vision_config=dict(**SMALL, image_size=32, patch_size=8), projection_dim=32)
    yield "clip", Case(of(clip, list(both)), both, [{"batch": 2, "seq": 12, "images": 1}, {"batch": 5, "seq": 30, "images": 4}])
    yield "perceiver", Case(of(hf.PerceiverConfig(vocab_size=100, d_model=32, d_latents=48, num_latents=8, num_self_attends_per_block=2, num_self_attention_heads=4, num_cross_attention_heads=2, max_position_embeddings=64), ["inputs"], hf.PerceiverForMaskedLM, eager=False), {"inputs": ("ids", ["batch", 64])}, [{"batch": 1}, {"batch": 3}])
    yield "trocr", Case(of(hf.TrOCRConfig(vocab_size=100, d_model=64, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=128, cross_attention_hidden_size=64, use_cache=False), ["input_ids"], hf.AutoModelForCausalLM, eager=False), TEXT, SEQS)


def sound():
    wave = {"wave": ("float", ["batch", "samples"])}
    waves = [{"batch": 1, "samples": 4000}, {"batch": 2, "samples": 6400}]
    conv = dict(conv_dim=[32, 32, 32], conv_kernel=[10, 3, 3], conv_stride=[5, 4, 4], num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
    yield "unispeech_sat", Case(of(hf.UniSpeechSatConfig(**TINY, **conv), ["input_values"]), wave, waves)
    yield "sew_d", Case(of(hf.SEWDConfig(**TINY, **conv, squeeze_factor=2, max_position_embeddings=64, position_buckets=16), ["input_values"], eager=False), wave, waves)
    yield "encodec", Case(of(hf.EncodecConfig(num_filters=8, hidden_size=32, codebook_size=64, codebook_dim=32, upsampling_ratios=[4, 2], target_bandwidths=[1.5], norm_type="weight_norm", use_causal_conv=False), ["input_values"], hf.AutoModel, eager=False, return_dict=False), {"wave": ("float", ["batch", 1, 3200])}, [{"batch": 1}, {"batch": 2}])
    yield "vits_like_codec", Case(Codec, {"wave": ("float", ["batch", 1, "samples"])}, [{"batch": 1, "samples": 1600}, {"batch": 3, "samples": 3200}])
    mel = {"mel": ("float", ["batch", "frames", 80])}
    yield "transducer", Case(Transducer, {"frames": ("float", ["batch", "time", 80]), "labels": ("ids", ["batch", "said"])}, [{"batch": 1, "time": 60, "said": 5}, {"batch": 3, "time": 101, "said": 9}], opset=13)
    yield "hifigan", Case(of(hf.SpeechT5HifiGanConfig(upsample_initial_channel=32, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8]), ["spectrogram"], hf.SpeechT5HifiGan, eager=False), mel, [{"batch": 1, "frames": 30}, {"batch": 2, "frames": 45}])
    yield "univnet_like_patch_tst", Case(of(hf.PatchTSTConfig(num_input_channels=3, context_length=48, patch_length=8, stride=8, d_model=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, prediction_length=12), ["past_values"], hf.PatchTSTForPrediction, eager=False), {"past": ("float", ["batch", 48, 3])}, [{"batch": 1}, {"batch": 4}])
    yield "patch_mixer", Case(of(hf.PatchTSMixerConfig(context_length=48, patch_length=8, patch_stride=8, num_input_channels=3, d_model=16, prediction_length=12), ["past_values"], hf.PatchTSMixerForPrediction, eager=False), {"past": ("float", ["batch", 48, 3])}, [{"batch": 1}, {"batch": 4}])
    yield "decision", Case(of(hf.DecisionTransformerConfig(state_dim=5, act_dim=3, hidden_size=32, n_layer=2, n_head=4, n_positions=64), ["states", "actions", "returns_to_go", "timesteps", "attention_mask"], eager=False), {"states": ("float", ["batch", "seq", 5]), "actions": ("float", ["batch", "seq", 3]), "returns": ("float", ["batch", "seq", 1]), "steps": ("ids", ["batch", "seq"]), "mask": ("mask", ["batch", "seq"])}, [{"batch": 1, "seq": 7}, {"batch": 2, "seq": 12}])


def written():
    image = ["batch", 4, "height", "width"]
    sizes = [{"batch": 1, "height": 16, "width": 16}, {"batch": 2, "height": 24, "width": 16}]
    given = {"sample": ("float", image), "step": ("float", ["batch"]), "states": ("float", ["batch", 7, 48])}
    yield "diffusion_unet", Case(Diffusion, given, sizes)
    yield "control_net", Case(lambda: Diffusion(True), {**given, "hint": ("float", ["batch", 3, "height", "width"])}, sizes, opset=14)
    times = [{"batch": 1, "time": 12}, {"batch": 3, "time": 31}]
    yield "selective_scan", Case(Selective, {"x": ("float", ["batch", "time", 24])}, times)
    yield "sparse_experts", Case(Experts, {"tokens": ("ids", ["batch", "time"])}, times, opset=16)
    yield "graph_attention", Case(Messages, {"features": ("float", ["nodes", 8]), "edges": ("ids", [2, "edges"])}, [{"nodes": 95, "edges": 150}, {"nodes": 120, "edges": 400}], opset=18)
    yield "boxes", Case(Boxes, {"pixels": ("float", [1, 3, "height", "width"])}, [{"height": 64, "width": 48}, {"height": 96, "width": 96}], opset=16)
    yield "resampled", Case(Resampled, {"pixels": ("float", ["batch", 3, "height", "width"])}, [{"batch": 3, "height": 64, "width": 48}, {"batch": 2, "height": 40, "width": 40}], opset=18, dynamo=True)
    yield "spoken", Case(Spoken, {"wave": ("float", ["batch", "samples"])}, [{"batch": 1, "samples": 1600}, {"batch": 2, "samples": 3200}], opset=17)
    yield "fourier", Case(Fourier, {"tokens": ("ids", ["batch", 16])}, [{"batch": 2}, {"batch": 3}], opset=18, dynamo=True)
    for which in ("greedy", "windows", "growing"):
        yield f"scripted_{which}", Case(lambda which=which: Scripted(which), {"frames": ("float", ["batch", "time", 16])}, times, opset=(16, 17, 13)[len(which) % 3])
    yield "latents", Case(Latents, {"samples": ("float", ["batch", "time", 12])}, times)
    yield "retention", Case(Retention, {"x": ("float", ["batch", "time", 32])}, times, opset=15)


def catalogue():
    yield from written()
    yield from sound()
    yield from sight()
    yield from language()


def cases():
    for name, case in catalogue():
        yield name, case.write, case.variants()
