"""Architectures written out here: recurrent, graph, point, recommender, audio, generative, detection."""

import torch
import torch.nn.functional as F
from torch import nn

from exporting import Case


class Recurrent(nn.Module):
    """Convolutions, then a recurrent stack; as speech recognizers and synthesizers have it."""

    def __init__(self, kind, bidirectional, layers=2):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(20, 32, 5, padding=2), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5))
        self.rnn = kind(32, 24, layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(48 if bidirectional else 24, 30)

    def forward(self, frames):
        hidden = self.conv(frames.transpose(1, 2)).transpose(1, 2)
        return F.log_softmax(self.head(self.rnn(hidden)[0]), -1)


class Stepwise(nn.Module):
    """An attention decoder that runs a cell a fixed number of steps."""

    def __init__(self):
        super().__init__()
        self.cell, self.query, self.out = nn.LSTMCell(48, 32), nn.Linear(32, 16), nn.Linear(32, 20)
        self.inner = nn.GRUCell(20, 16)

    def forward(self, memory):
        state = memory.new_zeros(memory.shape[0], 32)
        cell, last, inner = state, memory.new_zeros(memory.shape[0], 20), memory.new_zeros(memory.shape[0], 16)
        frames = []
        for _ in range(5):
            inner = self.inner(last, inner)
            weights = torch.softmax(torch.einsum("bth,bh->bt", memory, self.query(state)), -1)
            context = torch.einsum("bt,bth->bh", weights, memory)
            state, cell = self.cell(torch.cat([context, inner, context], 1), (state, cell))
            last = torch.tanh(self.out(state))
            frames.append(last)
        return torch.stack(frames, 1)


class Block(nn.Module):
    def __init__(self, n_in, n_out, norm):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=1), norm(n_out), nn.SiLU(), nn.Conv2d(n_out, n_out, 3, padding=1), norm(n_out), nn.SiLU()
        )

    def forward(self, x):
        return self.body(x)


class UNet(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d, up="transposed"):
        super().__init__()
        widths = [8, 16, 32, 48]
        self.down = nn.ModuleList([Block(a, b, norm) for a, b in zip([3] + widths, widths)])
        self.up = nn.ModuleList()
        self.join = nn.ModuleList([Block(a + b, b, norm) for a, b in zip(widths[:0:-1], widths[-2::-1])])
        for a in widths[:0:-1]:
            if up == "transposed":
                self.up.append(nn.ConvTranspose2d(a, a, 2, stride=2))
            else:
                self.up.append(nn.Upsample(scale_factor=2, mode=up, **({"align_corners": True} if up == "bilinear" else {})))
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, pixels):
        kept, x = [], pixels
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        for up, join, old in zip(self.up, self.join, kept[-2::-1]):
            x = join(torch.cat([up(x), old], 1))
        return self.head(x)


class Residual(nn.Module):
    """One block of a diffusion network: group norm, a time embedding, self attention, cross attention."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(4, 32, 3, padding=1)
        self.norm1, self.conv1 = nn.GroupNorm(8, 32), nn.Conv2d(32, 32, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 32))
        self.norm2, self.conv2 = nn.GroupNorm(8, 32), nn.Conv2d(32, 32, 3, padding=1)
        self.norm3 = nn.LayerNorm(32)
        self.attend = nn.MultiheadAttention(32, 4, batch_first=True)
        self.cross = nn.MultiheadAttention(32, 4, batch_first=True, kdim=24, vdim=24)
        self.gate = nn.Linear(32, 128)
        self.out = nn.Linear(64, 32)

    def forward(self, sample, step, context):
        angle = step[:, None].float() * torch.exp(-torch.arange(16) / 4.0)[None]
        time = self.time(torch.cat([angle.sin(), angle.cos()], -1))
        x = self.stem(sample)
        hidden = self.conv1(F.silu(self.norm1(x))) + time[:, :, None, None]
        x = x + self.conv2(F.silu(self.norm2(hidden)))
        batch, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        rows = rows + self.attend(self.norm3(rows), self.norm3(rows), self.norm3(rows), need_weights=False)[0]
        rows = rows + self.cross(rows, context, context, need_weights=False)[0]
        left, right = self.gate(rows).chunk(2, -1)
        rows = rows + self.out(left * F.gelu(right))
        return rows.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64, 32))
        self.decode = nn.Sequential(nn.Linear(16, 32 * 64), nn.Unflatten(1, (32, 8, 8)), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Sigmoid())

    def forward(self, pixels):
        mean, spread = self.encode(pixels).chunk(2, 1)
        return self.decode(mean + torch.exp(spread / 2) * 0.1), mean, spread


class TCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(12 if index == 0 else 24, 24, 3, dilation=2**index) for index in range(4)])
        self.skip, self.head = nn.Conv1d(12, 24, 1), nn.Linear(24, 5)

    def forward(self, frames):
        x = frames.transpose(1, 2)
        for index, layer in enumerate(self.layers):
            new = F.elu(layer(F.pad(x, (2 * 2**index, 0))))
            x = new + (self.skip(x) if index == 0 else x)
        return self.head(x.mean(-1))


class DLRM(nn.Module):
    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(90, 16) for _ in range(6)])
        self.bottom = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(16 + 21, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())

    def forward(self, dense, sparse):
        low = self.bottom(dense)
        rows = torch.stack([low] + [table(sparse[:, index]) for index, table in enumerate(self.tables)], 1)
        products = torch.bmm(rows, rows.transpose(1, 2))
        first, second = torch.tril_indices(7, 7, -1)
        return self.top(torch.cat([low, products[:, first, second]], 1))


class DeepFM(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.first = nn.Embedding(90, 8), nn.Embedding(90, 1)
        self.deep = nn.Sequential(nn.Linear(80, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, sparse):
        rows = self.table(sparse)
        second = 0.5 * (rows.sum(1) ** 2 - (rows**2).sum(1)).sum(1, keepdim=True)
        return torch.sigmoid(self.first(sparse).sum(1) + second + self.deep(rows.flatten(1)))


class TabNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(20)
        self.steps = nn.ModuleList([nn.Linear(20, 32) for _ in range(3)])
        self.masks = nn.ModuleList([nn.Linear(16, 20) for _ in range(3)])
        self.head = nn.Linear(16, 4)

    def forward(self, table):
        x = self.norm(table)
        prior, total, hidden = torch.ones_like(x), 0, F.glu(self.steps[0](x))
        for step, mask in zip(self.steps, self.masks):
            chosen = torch.softmax(mask(hidden) * prior, -1)
            sorted_, _ = torch.sort(chosen, descending=True)
            chosen = torch.clamp(chosen - (sorted_.cumsum(-1)[:, 3:4] - 1) / 4, min=0)
            prior = prior * (1.3 - chosen)
            hidden = F.glu(step(x * chosen))
            total = total + F.relu(hidden)
        return self.head(total)


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.turn = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU())
        self.turned = nn.Linear(32, 9)
        self.body = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 64, 1), nn.BatchNorm1d(64))
        self.head = nn.Conv1d(96, 10, 1)

    def forward(self, points):
        x = points.transpose(1, 2)
        matrix = self.turned(self.turn(x).max(-1)[0]).view(-1, 3, 3) + torch.eye(3)
        x = torch.bmm(points, matrix).transpose(1, 2)
        low = self.turn(x)
        whole = self.body(x).max(-1, keepdim=True)[0]
        return self.head(torch.cat([low, whole.expand(-1, -1, low.shape[-1])], 1)).transpose(1, 2)


class Neighbours(nn.Module):
    """Points and their nearest neighbours: pairwise distances, top k, gathered edges."""

    def __init__(self):
        super().__init__()
        self.edge, self.head = nn.Sequential(nn.Conv2d(6, 16, 1), nn.LeakyReLU(0.2)), nn.Linear(16, 4)

    def forward(self, points):
        near = torch.cdist(points, points).topk(5, largest=False)[1]
        index = near.flatten(1)[..., None].expand(-1, -1, 3)
        found = points.gather(1, index).view(points.shape[0], points.shape[1], 5, 3)
        pairs = torch.cat([found - points[:, :, None], points[:, :, None].expand(-1, -1, 5, -1)], -1)
        return self.head(self.edge(pairs.permute(0, 3, 1, 2)).max(-1)[0].transpose(1, 2))


class Graph(nn.Module):
    """Message passing: gather along edges, scatter-add into nodes, attention by segments."""

    def __init__(self):
        super().__init__()
        self.lift, self.message, self.score, self.head = nn.Linear(8, 16), nn.Linear(32, 16), nn.Linear(16, 1), nn.Linear(16, 3)

    def forward(self, features, edges):
        x = F.relu(self.lift(features))
        source, target = edges[0] % features.shape[0], edges[1] % features.shape[0]
        for _ in range(2):
            sent = F.relu(self.message(torch.cat([x[source], x[target]], 1)))
            weight = torch.exp(torch.sigmoid(self.score(sent)))
            norm = torch.zeros_like(x[:, :1]).index_add(0, target, weight)
            gathered = torch.zeros_like(x).scatter_add(0, target[:, None].expand_as(sent), sent * weight)
            x = x + gathered / (norm + 1e-6)
        return self.head(x), x.mean(0)


class Sampler(nn.Module):
    """Warps an image by a predicted grid."""

    def __init__(self, mode="bilinear", padding="zeros"):
        super().__init__()
        self.flow, self.mode, self.padding = nn.Conv2d(3, 2, 3, padding=1), mode, padding

    def forward(self, pixels):
        rows, columns = torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 48)
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)[None]
        grid = grid + self.flow(pixels).tanh().permute(0, 2, 3, 1)
        return F.grid_sample(pixels, grid, mode=self.mode, padding_mode=self.padding, align_corners=False)


class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.register_buffer("mel", torch.rand(33, 20))
        self.rnn = nn.GRU(20, 16, batch_first=True)

    def forward(self, samples):
        parts = torch.stft(samples, 64, 16, window=self.window, return_complex=False, center=False)
        power = parts.pow(2).sum(-1).transpose(1, 2)
        return self.rnn(torch.log(power @ self.mel + 1e-5))[0]


class Detector(nn.Module):
    """One-stage detection with suppression inside the graph."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*[layer for n_in, n_out in ((3, 8), (8, 16), (16, 24)) for layer in (nn.Conv2d(n_in, n_out, 3, 2, 1), nn.BatchNorm2d(n_out), nn.SiLU())])
        self.head = nn.Conv2d(24, 9, 1)

    def forward(self, pixels):
        import torchvision

        raw = self.head(self.body(pixels)).flatten(2).transpose(1, 2)[0]
        centre, extent = raw[:, :2].sigmoid() * 64, raw[:, 2:4].sigmoid() * 32
        boxes = torch.cat([centre - extent / 2, centre + extent / 2], 1)
        scores, classes = raw[:, 4:].sigmoid().max(1)
        scores, order = scores.topk(20)
        boxes, classes = boxes[order], classes[order]
        kept = torchvision.ops.nms(boxes, scores, 0.5)[:5]
        return boxes[kept], scores[kept], classes[kept]


class Einsums(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(48, 144)
        self.bias = nn.Parameter(torch.rand(4, 12, 16))

    def forward(self, tokens):
        q, k, v = self.qkv(tokens).view(tokens.shape[0], -1, 3, 4, 12).unbind(2)
        logits = torch.einsum("bnhd,bmhd->bhnm", q, k) / 3.5
        extra = torch.einsum("bnhd,hdk->bhnk", q, self.bias).sum(-1, keepdim=True)
        return torch.einsum("bhnm,bmhd->bnhd", torch.softmax(logits + extra, -1), v).flatten(2)


@torch.jit.script
def viterbi(scores: torch.Tensor, moves: torch.Tensor):
    best = scores[0]
    for index in range(1, scores.shape[0]):
        best = scores[index] + (best[:, :, None] + moves[None]).max(1)[0]
    return best


class Tagger(nn.Module):
    """A recurrent tagger whose transitions are summed in a loop."""

    def __init__(self):
        super().__init__()
        self.table, self.rnn = nn.Embedding(100, 16), nn.LSTM(16, 12, bidirectional=True)
        self.head, self.moves = nn.Linear(24, 6), nn.Parameter(torch.rand(6, 6))

    def forward(self, words):
        return viterbi(self.head(self.rnn(self.table(words).transpose(0, 1))[0]), self.moves)


class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.PReLU(16), nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2), nn.InstanceNorm2d(3, affine=True), nn.ReflectionPad2d(2), nn.Hardswish())
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.Hardsigmoid())

    def forward(self, pixels):
        x = self.body(pixels)
        x = x * self.squeeze(x)
        return F.interpolate(x, scale_factor=1.5, mode="bicubic"), F.avg_pool2d(F.pixel_unshuffle(F.pad(x, (0, 0, 0, 0)), 1), 3, 2, 1)


class Mamba(nn.Module):
    """A selective state space, its recurrence unrolled."""

    def __init__(self):
        super().__init__()
        self.lift, self.conv = nn.Linear(24, 64), nn.Conv1d(32, 32, 4, groups=32, padding=3)
        self.pick, self.step, self.out = nn.Linear(32, 8 + 8 + 2), nn.Linear(2, 32), nn.Linear(32, 24)
        self.decay, self.skip = nn.Parameter(torch.rand(32, 8)), nn.Parameter(torch.ones(32))

    def forward(self, tokens):
        x, gate = self.lift(tokens).chunk(2, -1)
        x = F.silu(self.conv(x.transpose(1, 2))[..., : tokens.shape[1]].transpose(1, 2))
        into, out_of, step = self.pick(x).split([8, 8, 2], -1)
        step = F.softplus(self.step(step))
        state = x.new_zeros(x.shape[0], 32, 8)
        rows = []
        for index in range(6):
            state = state * torch.exp(-step[:, index, :, None] * self.decay) + (step * x)[:, index, :, None] * into[:, index, None]
            rows.append((state * out_of[:, index, None]).sum(-1))
        return self.out((torch.stack(rows, 1) + x[:, :6] * self.skip) * F.silu(gate[:, :6]))


class Mixture(nn.Module):
    """Experts chosen by rank, all computed, summed by weight; and a root-mean-square norm."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(24, 4, bias=False)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(24, 48), nn.GELU(approximate="tanh"), nn.Linear(48, 24)) for _ in range(4)])
        self.scale = nn.Parameter(torch.ones(24))

    def forward(self, tokens):
        x = tokens * torch.rsqrt(tokens.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        weights, chosen = torch.softmax(self.router(x), -1).topk(2)
        mask = F.one_hot(chosen, 4).float() * weights[..., None]
        share = mask.sum(-2)
        return tokens + sum(share[..., index : index + 1] * expert(x) for index, expert in enumerate(self.experts))


def encoder():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu", norm_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def catalogue():
    frames, times = {"frames": ("float", ["batch", "time", 20])}, [{"batch": 1, "time": 40}, {"batch": 4, "time": 25}]
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        for both in (False, True):
            yield f"{kind.__name__.lower()}_{'both' if both else 'forward'}", Case(lambda kind=kind, both=both: Recurrent(kind, both), frames, times)
    yield "stepwise_decoder", Case(Stepwise, {"memory": ("float", ["batch", "time", 16])}, times)
    image = {"pixels": ("float", ["batch", 3, "height", "width"])}
    images = [{"batch": 1, "height": 64, "width": 48}, {"batch": 2, "height": 32, "width": 64}]
    yield "unet_transposed", Case(UNet, image, images, opset=13)
    yield "unet_bilinear", Case(lambda: UNet(up="bilinear"), image, images)
    yield "unet_nearest_group_norm", Case(lambda: UNet(lambda n: nn.GroupNorm(4, n), "nearest"), image, images, opset=18)
    yield "diffusion_block", Case(Residual, {"sample": ("float", ["batch", 4, "height", "width"]), "step": ("float", ["batch"]), "context": ("float", ["batch", 7, 24])}, [{"batch": 1, "height": 16, "width": 16}, {"batch": 2, "height": 12, "width": 16}])
    yield "vae", Case(VAE, {"pixels": ("float", ["batch", 3, 32, 32])}, [{"batch": 1}, {"batch": 5}], opset=14)
    yield "tcn", Case(TCN, {"frames": ("float", ["batch", "time", 12])}, times)
    yield "dlrm", Case(DLRM, {"dense": ("float", ["batch", 13]), "sparse": ("ids", ["batch", 6])}, [{"batch": 2}, {"batch": 64}])
    yield "deepfm", Case(DeepFM, {"sparse": ("ids", ["batch", 10])}, [{"batch": 2}, {"batch": 100}])
    yield "tabnet", Case(TabNet, {"table": ("float", ["batch", 20])}, [{"batch": 2}, {"batch": 33}])
    points, clouds = {"points": ("float", ["batch", "points", 3])}, [{"batch": 1, "points": 60}, {"batch": 3, "points": 128}]
    yield "pointnet", Case(PointNet, points, clouds)
    yield "neighbours", Case(Neighbours, points, clouds)
    yield "graph_network", Case(Graph, {"features": ("float", ["nodes", 8]), "edges": ("ids", [2, "edges"])}, [{"nodes": 30, "edges": 90}, {"nodes": 100, "edges": 400}], opset=18)
    for mode, padding in (("bilinear", "zeros"), ("nearest", "border"), ("bicubic", "reflection")):
        yield f"grid_sample_{mode}", Case(lambda mode=mode, padding=padding: Sampler(mode, padding), {"pixels": ("float", ["batch", 3, 32, 48])}, [{"batch": 1}, {"batch": 3}], opset=16)
    yield "spectrum", Case(Spectrum, {"samples": ("float", ["batch", "samples"])}, [{"batch": 1, "samples": 640}, {"batch": 3, "samples": 1000}])
    yield "detector", Case(Detector, {"pixels": ("float", [1, 3, "height", "width"])}, images)
    yield "einsums", Case(Einsums, {"tokens": ("float", ["batch", "time", 48])}, times)
    yield "tagger_loop", Case(Tagger, {"words": ("ids", ["batch", "time"])}, times)
    yield "super_resolution", Case(SuperResolution, image, images)
    yield "mamba_unrolled", Case(Mamba, {"tokens": ("float", ["batch", "time", 24])}, times)
    yield "mixture", Case(Mixture, {"tokens": ("float", ["batch", "time", 24])}, times)
    yield "torch_encoder", Case(encoder, {"tokens": ("float", ["batch", "time", 32])}, times)


def cases():
    for name, case in catalogue():
        yield name, case.write, case.variants()
