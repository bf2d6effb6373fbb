#!/usr/bin/env python3
"""Images per second on one core, decoded and augmented for training: espalier beside Pillow and numpy, in one run.

bench_loader.py OURS FOLDER [--rounds N]: OURS is the executable of benches/data.rs (`cargo bench --bench data --no-run` names
it). Both do random resized crop to 224 pixels (bicubic), flip, RandAugment rand-m9-mstd0.5-inc1, normalisation to float32 and
random erasing with noise (p 0.25) on every image of the folder, each by its own draws. They take turns; the table has medians
with the smallest and largest round.
"""
import argparse, json, math, os, random, statistics, subprocess, time

import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageOps

SIZE, FILL = 224, (124, 116, 104)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
STAGES = ["decode", "crop_and_flip", "rand_augment", "normalize_and_erase"]


def affine(image, matrix):
    return image.transform(image.size, Image.AFFINE, matrix, resample=Image.BICUBIC, fillcolor=FILL)


def solarize_add(image, amount):
    return image.point([min(255, v + amount) if v < 128 else v for v in range(256)] * 3)


# Each takes the image, m/10 and a sign.
OPERATIONS = [
    lambda i, t, s: ImageOps.autocontrast(i),
    lambda i, t, s: ImageOps.equalize(i),
    lambda i, t, s: ImageOps.invert(i),
    lambda i, t, s: i.rotate(s * 30 * t, resample=Image.BICUBIC, fillcolor=FILL),
    lambda i, t, s: ImageOps.posterize(i, max(1, 4 - int(4 * t))),
    lambda i, t, s: ImageOps.solarize(i, 256 - int(256 * t)),
    lambda i, t, s: solarize_add(i, int(110 * t)),
    lambda i, t, s: ImageEnhance.Color(i).enhance(1 + s * 0.9 * t),
    lambda i, t, s: ImageEnhance.Contrast(i).enhance(1 + s * 0.9 * t),
    lambda i, t, s: ImageEnhance.Brightness(i).enhance(1 + s * 0.9 * t),
    lambda i, t, s: ImageEnhance.Sharpness(i).enhance(1 + s * 0.9 * t),
    lambda i, t, s: affine(i, (1, s * 0.3 * t, 0, 0, 1, 0)),
    lambda i, t, s: affine(i, (1, 0, 0, s * 0.3 * t, 1, 0)),
    lambda i, t, s: affine(i, (1, 0, s * 0.45 * t * i.width, 0, 1, 0)),
    lambda i, t, s: affine(i, (1, 0, 0, 0, 1, s * 0.45 * t * i.height)),
]


def attempts(area, ratio, total):
    """Ten sides (a, b) of an area drawn from a range, at a ratio drawn from one."""
    for _ in range(10):
        drawn, r = random.uniform(*area) * total, math.exp(random.uniform(*map(math.log, ratio)))
        yield round(math.sqrt(drawn * r)), round(math.sqrt(drawn / r))


def crop_and_flip(image):
    width, height = image.size
    box = (0, 0, width, height)
    for w, h in attempts((0.08, 1), (3 / 4, 4 / 3), width * height):
        if w <= width and h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            box = (left, top, left + w, top + h)
            break
    image = image.crop(box).resize((SIZE, SIZE), Image.BICUBIC)
    return image.transpose(Image.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image


def rand_augment(image):
    for operation in random.choices(OPERATIONS, k=2):
        if random.random() <= 0.5:
            t = min(max(random.gauss(9, 0.5), 0), 10) / 10
            image = operation(image, t, random.choice((-1, 1)))
    return image


def normalize_and_erase(image):
    values = (np.asarray(image, dtype=np.float32) / 255 - MEAN) / STD
    values = np.ascontiguousarray(values.transpose(2, 0, 1))
    if random.random() <= 0.25:
        for h, w in attempts((0.02, 1 / 3), (0.3, 1 / 0.3), SIZE * SIZE):
            if h < SIZE and w < SIZE:
                top, left = random.randint(0, SIZE - h), random.randint(0, SIZE - w)
                values[:, top : top + h, left : left + w] = RNG.standard_normal((3, h, w), dtype=np.float32)
                break
    return values


RNG = np.random.default_rng(0)


def theirs(files):
    seconds = [0.0] * 4
    for file in files:
        value = file
        steps = (lambda f: Image.open(f).convert("RGB"), crop_and_flip, rand_augment, normalize_and_erase)
        for stage, step in enumerate(steps):
            start = time.perf_counter()
            value = step(value)
            seconds[stage] += time.perf_counter() - start
    speed = dict(zip(STAGES, (len(files) / s for s in seconds)))
    return {"images_per_second": len(files) / sum(seconds), **speed}


def ours(executable, folder):
    lines = subprocess.run([executable, folder, "1"], check=True, capture_output=True, text=True).stdout
    return json.loads(lines.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("executable")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core for both
    walk = (os.path.join(folder, name) for folder, _, names in os.walk(args.folder) for name in names)
    files = sorted(f for f in walk if f.lower().endswith((".jpg", ".jpeg", ".png")))
    random.seed(0)
    theirs(files)
    rounds = [(ours(args.executable, args.folder), theirs(files)) for _ in range(args.rounds)]
    print(f"{len(files)} images, {args.rounds} rounds, Pillow {PIL.__version__}, numpy {np.__version__}\n")
    print("| images/s on one core | espalier | Pillow + numpy | ratio |\n|---|---|---|---|")
    for key in [*STAGES, "images_per_second"]:
        samples = [[pair[side][key] for pair in rounds] for side in (0, 1)]
        cells = [f"{statistics.median(s):.0f} ({min(s):.0f}–{max(s):.0f})" for s in samples]
        ratio = statistics.median(a / b for a, b in zip(*samples))
        print(f"| {'all' if key == 'images_per_second' else key.replace('_', ' ')} | {cells[0]} | {cells[1]} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
