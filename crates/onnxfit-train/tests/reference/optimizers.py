"""Prints what PyTorch's optimizers make of two parameters in three steps, for ../optimizers.rs."""
import torch

START = [[1.0, -2.0, 0.5, 3.0], [0.25, -0.75]]
GRADIENTS = [[[0.5, -1.0, 0.25, 2.0], [1.5, -0.5]], [[-0.5, 1.0, 0.75, 1.0], [0.5, 0.25]], [[0.1, 0.2, -0.3, 0.4], [0.0, -1.0]]]
for name, make, clip in [
    ("sgd", lambda p: torch.optim.SGD(p, 0.1), None),
    ("momentum", lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01), None),
    ("nesterov", lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True), 1.0),
    ("adam", lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.01), None),
    ("adamw", lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1), 1.0),
]:
    params = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in START]
    optimizer = make(params)
    for step in GRADIENTS:
        for p, g in zip(params, step):
            p.grad = torch.tensor(g, dtype=torch.float64)
        if clip:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()
    print(name, [[round(x, 9) for x in p.tolist()] for p in params])
