"""Makes inputs that look like the task of the models shipped in PyPI packages.

Pages and lines of text, drawn; speech-like sound, synthesized; bytes of real files. Noise would
say nothing about ranges: nearly all of a detector's output is background.

    python task_data.py MODEL FOLDER N SEED
"""

import random
import sys
import sysconfig
from pathlib import Path

import numpy as np

WORDS = "time memory answer model river stone light paper seven table orange winter quick north silver engine".split()


def page(rng, width, height, n_lines):
    from PIL import Image, ImageDraw, ImageFont

    background = tuple(rng.randint(150, 255) for _ in range(3))
    image = Image.new("RGB", (width, height), background)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(0, 3)):
        box = sorted(rng.randint(0, width) for _ in range(2)) + sorted(rng.randint(0, height) for _ in range(2))
        draw.rectangle([box[0], box[2], box[1], box[3]], fill=tuple(rng.randint(90, 255) for _ in range(3)))
    for _ in range(n_lines):
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3))) + str(rng.randint(0, 9999))
        size = max(10, int(height * rng.uniform(0.05, 0.12))) if n_lines > 1 else int(height * rng.uniform(0.5, 0.8))
        at = (rng.randint(0, width // 3), rng.randint(0, max(1, height - size)) if n_lines > 1 else rng.randint(0, height // 6))
        draw.text(at, text, fill=tuple(rng.randint(0, 110) for _ in range(3)), font=ImageFont.load_default(size))
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(rng.randint(0, 2**31)).normal(0, rng.uniform(0, 8), pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.float32)


def sound(rng, n):
    """Vowels: a buzz of some pitch through three resonances, louder and softer."""
    time = np.arange(n) / 16000.0
    pitch = rng.uniform(80, 250) * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(2, 6) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000.0
    formants = [rng.uniform(300, 800), rng.uniform(900, 2200), rng.uniform(2300, 3200)]
    wave = np.zeros(n)
    for harmonic in range(1, 30):
        frequency = pitch.mean() * harmonic
        gain = sum(np.exp(-((frequency - formant) / 150.0) ** 2) for formant in formants)
        wave += gain * np.sin(harmonic * phase)
    loud = np.clip(np.sin(2 * np.pi * rng.uniform(0.5, 4) * time + rng.uniform(0, 6)), 0, 1)
    noise = np.random.default_rng(rng.randint(0, 2**31)).normal(0, 0.005, n)
    return (0.2 * loud * wave / max(1e-6, np.abs(wave).max()) + noise).astype(np.float32)


def some_bytes(rng, n):
    stdlib = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    data = rng.choice(stdlib).read_bytes()[: n // 2]
    begin = np.frombuffer(data, dtype=np.uint8).astype(np.int32)
    return np.pad(begin, (0, n - len(begin)), constant_values=256)


def image(rng, width, height, n_lines, mean, deviation, gray=False):
    pixels = page(rng, width, height, n_lines)
    if gray:
        pixels = pixels.mean(axis=2, keepdims=True)
    scaled = (pixels / 255.0 - mean) / deviation
    return scaled.transpose(2, 0, 1)[None].astype(np.float32)


def sample(name, rng):
    if "common_det" in name:
        return {"images": page(rng, 416, 416, rng.randint(3, 9)).transpose(2, 0, 1)[None]}
    if "ddddocr" in name:
        return {"input1": image(rng, 128, 64, 1, 0.456 if "old" not in name else 0.0, 0.224 if "old" not in name else 1.0, gray=True)}
    if "_det" in name:
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        return {"x": image(rng, 320, 320, rng.randint(3, 9), mean, deviation)}
    if "_rec" in name:
        return {"x": image(rng, 320, 48, 1, 0.5, 0.5)}
    if "_cls" in name:
        return {"x": image(rng, 192, 48, 1, 0.5, 0.5)}
    if "magika" in name:
        return {"bytes": some_bytes(rng, 2048)[None]}
    if "silero_vad_16k_sequence" in name:
        return {"input": sound(rng, 4 * 576).reshape(4, 576), "h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}
    if "silero" in name:
        n = 576 if "openvino" in name or "ifless" in name else 512
        state = np.random.default_rng(rng.randint(0, 2**31)).normal(0, 0.2, (2, 1, 128)).astype(np.float32)
        return {"input": sound(rng, n)[None], "state": state, "sr": np.array(16000, np.int64)}
    raise SystemExit(f"no task is known for {name}")


def fitted(model, arrays):
    """The arrays that the model has as inputs, in the types and shapes that it wants."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    fitted = {}
    for info in session.get_inputs():
        array = arrays.get(info.name)
        if array is None and len(arrays) == 1:
            array = next(iter(arrays.values()))
        if array is None:
            shape = [dim if isinstance(dim, int) else 1 for dim in info.shape]
            array = np.zeros(shape, np.float32)
        fitted[info.name] = array
    return fitted


def write(model, folder, n, seed):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for index in range(n):
        np.savez(folder / f"{index:04}.npz", **fitted(model, sample(str(model), rng)))


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
