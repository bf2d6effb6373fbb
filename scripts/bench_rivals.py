#!/usr/bin/env python3
"""Inference on the processor in float32: espalier beside PyTorch, in one run.

bench_rivals.py OURS [--models NAME ...] [--batch N ...] [--threads N] [--rounds N]: OURS is target/release/espalier. In every
round both run each model some times, one after the other; a line has each one's median over all rounds, with the smallest and
the largest median of a round. PyTorch's models are those of benches/torch_models.py, in inference mode; of two ways to write
Swin's attention the faster one is taken. Needs torch.
"""
import argparse, json, os, platform, statistics, subprocess, sys, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("ours")
parser.add_argument("--models", nargs="+", default=["swin_tiny_patch4_window7_224", "sit_lvvit_s", "regnety_160"])
parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=5)
arguments = parser.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(arguments.threads)

import torch  # reads those

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../benches"))
import torch_models


def theirs(net, images, calls):
    times = []
    with torch.inference_mode():
        for call in range(calls + 1):
            start = time.perf_counter()
            net(images)
            times.append(1e3 * (time.perf_counter() - start))
    return times[1:]


def ours(model, batch, calls):
    what = ["--model", model, "--batch", str(batch), "--rounds", str(calls)]
    command = [arguments.ours, "bench", *what, "--no-prediction", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"{' '.join(command)}: {ran.stderr.strip()}")
    return json.loads(ran.stdout.splitlines()[-1])["ms"]


def cell(rounds):
    return f"{statistics.median(rounds):.1f} ({min(rounds):.1f}–{max(rounds):.1f})"


torch.set_num_threads(arguments.threads)
print(f"{platform.machine()}, {arguments.threads} threads, PyTorch {torch.__version__}, {arguments.rounds} rounds\n", flush=True)
print("| model | batch | espalier, ms | PyTorch, ms | PyTorch / espalier |\n|---|--:|--:|--:|--:|", flush=True)
for model in arguments.models:
    net = torch_models.MODELS[model]().eval()
    for batch in arguments.batch:
        images, calls = torch.full((batch, 3, 224, 224), 0.1), 8 if batch == 1 else 4
        speed = {}
        for torch_models.WindowBlock.FUSED in (True, False) if model.startswith("swin") else (False,):
            speed[torch_models.WindowBlock.FUSED] = statistics.median(theirs(net, images, calls))
        torch_models.WindowBlock.FUSED = min(speed, key=speed.get)
        found = {"ours": [], "theirs": []}
        for _ in range(arguments.rounds):
            found["theirs"].append(statistics.median(theirs(net, images, calls)))
            found["ours"].append(ours(model, batch, calls)["median"])
        ratio = statistics.median(found["theirs"]) / statistics.median(found["ours"])
        print(f"| {model} | {batch} | {cell(found['ours'])} | {cell(found['theirs'])} | {ratio:.2f} |", flush=True)
