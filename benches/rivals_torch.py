#!/usr/bin/env python3
"""DeiT in PyTorch and in espalier, measured in one run.

espalier's own benchmark (--ours, the executable of benches/models.rs, or of benches/card.rs with ESPALIER_BENCH_PART=models)
runs before PyTorch and again after it, so that a machine that slows down shows; its samples of both go into one figure.
PyTorch runs eagerly and through torch.compile: inference with bfloat16 parameters and under autocast, training steps (forward,
backward, fused AdamW) under autocast. Where batches are small, torch.compile replays CUDA graphs (mode "reduce-overhead").
Models are timm's where it can be imported, else those of torch_models.py. Writes OUT.json and OUT.md.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

import torch
from torch.nn import functional as F

import torch_models

try:
    import timm
except ImportError:
    timm = None

TINY, SMALL, BASE = "deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224"
SAMPLES, WARMUP = 10, 3
FORWARD, TRAINING = "forward", "training step"


def build(name):
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False) if timm else torch_models.MODELS[name]()


def work(name, kind, batch, how, pure, device):
    """What to time: one pass or one step of a fresh model."""
    half = torch.bfloat16 if device == "cuda" else torch.float32
    model = build(name).to(device)
    images = torch.full((batch, 3, 224, 224), 0.1, device=device)
    cast = lambda: torch.autocast(device, torch.bfloat16, enabled=not pure and device == "cuda")
    run = model
    if how == "compile":
        run = torch.compile(model, mode="reduce-overhead" if batch <= 32 and device == "cuda" else "default")
    if kind == FORWARD:
        model.eval()
        if pure:
            model.to(half)
            images = images.to(half)

        def step():
            with torch.inference_mode(), cast():
                run(images)
    else:
        target = torch.full((batch, 1000), 0.1 / 1000, device=device)
        target[:, 0] += 0.9
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=device == "cuda")

        def step():
            with cast():
                loss = F.cross_entropy(run(images), target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return step


def milliseconds(step, device):
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    samples = []
    for _ in range(WARMUP + SAMPLES):
        wait()
        start = time.perf_counter()
        step()
        wait()
        samples.append(1e3 * (time.perf_counter() - start))
    return samples[WARMUP:]


def ours(executable, jobs, device, notes):
    """What espalier's benchmark found for the jobs: its samples by (model, kind, batch), and the whole file; both empty when
    it wrote none. One failing job of several fails in `notes` and leaves the others."""
    how, dtype = ("replayed", "bf16") if device == "cuda" else ("launched", "f32")
    names = [f"/{model}/{kind}/{how}/{dtype}/{batch}/" for model, kind, batch in jobs]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ours")
        environment = {**os.environ, "ESPALIER_BENCH_DEVICES": device, "ESPALIER_BENCH_OUT": path}
        status = None
        try:
            status = subprocess.run([executable, *names], env=environment, stdout=subprocess.DEVNULL).returncode
            with open(path + ".json") as file:
                found = json.load(file)
        except (OSError, ValueError) as error:
            notes.append(f"failed: espalier ended with status {status} and left no results: {error}")
            return {}, {}
    if status:
        faults = [note for note in found["notes"] if note.startswith("failed")]
        notes += [f"failed: espalier: {fault}" for fault in faults or [f"ended with status {status}"]]
    return {(row["model"], row["work"], row["batch"]): row["ms"]["samples"] for row in found["rows"]}, found


def row(job, who, samples, pooled):
    model, kind, batch = job
    cuts = statistics.quantiles(samples, n=20, method="inclusive")
    median = statistics.median(samples)
    ratio = median / statistics.median(pooled) if pooled else None
    return {"model": model, "work": kind, "batch": batch, "who": who,
            "ms": {"median": median, "p5": cuts[0], "p95": cuts[-1], "samples": samples},
            "images_per_second": 1e3 * batch / median, "espalier_is_faster_by": ratio}


def results(jobs, begun, before, after, theirs, found, device, notes):
    """All that is known by now: every row, and what is to be said of them."""
    rows, notes = [], list(notes)
    for job in jobs:
        pooled = before.get(job, []) + after.get(job, [])
        if pooled:
            rows.append(row(job, "espalier", pooled, None))
        if job in before and job in after:
            drift = statistics.median(after[job]) / statistics.median(before[job])
            if not 0.95 < drift < 1.05:
                notes.append(f"{job}: espalier took {drift:.2f} times as long after PyTorch as before")
        rows += [row(job, who, samples, pooled) for (of, who), samples in theirs.items() if of == job]
    if not after:
        notes.append("not finished: espalier was not measured after PyTorch")
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "timm": getattr(timm, "__version__", None),
                "python": sys.version.split()[0]}
    card = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return {"part": "rivals", "date": begun, "commit": found.get("commit"), "driver": found.get("driver"), "card": card,
            "versions": versions, "samples": SAMPLES, "rows": rows, "notes": notes}


def write(out, found):
    """OUT.json and OUT.md, each replaced when it is whole; the text."""
    cells = [[r["model"], r["work"], r["batch"], r["who"], f"{r['ms']['median']:.2f} {r['ms']['p5']:.2f}–{r['ms']['p95']:.2f}",
              f"{r['images_per_second']:.0f}", f"{r['espalier_is_faster_by']:.2f}" if r["espalier_is_faster_by"] else "–"]
             for r in found["rows"]]
    header = ["model", "work", "batch", "who", "ms (p5–p95)", "img/s", "espalier is faster by"]
    lines = ["| " + " | ".join(map(str, line)) + " |" for line in [header, ["---"] * len(header), *cells]]
    of = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    text = (f"# rivals\n\n{found['date']}, {found['card']}, commit {found['commit']}, {of}. Medians of {SAMPLES} samples "
            "(espalier: as many before PyTorch and again after it).\n\n"
            + "".join(f"- {note}\n" for note in found["notes"]) + "\n" + "\n".join(lines) + "\n")
    for ending, content in [("json", json.dumps(found, indent=2) + "\n"), ("md", text)]:
        path = f"{out}.{ending}"
        with open(path + ".part", "w") as file:
            file.write(content)
        os.replace(path + ".part", path)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="espalier's benchmark of models")
    parser.add_argument("--out", required=True, help="path of the results without its ending")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: tries the program out, in float32")
    parser.add_argument("--seconds", type=float, default=420, help="begin nothing more after this time")
    arguments = parser.parse_args()
    begin, device = time.monotonic(), arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU: torch.cuda.is_available() is false")
    jobs = [(SMALL, FORWARD, 256), (SMALL, TRAINING, 256), (SMALL, FORWARD, 1), (TINY, FORWARD, 256), (BASE, FORWARD, 256),
            (SMALL, FORWARD, 32), (TINY, TRAINING, 256), (BASE, TRAINING, 256)]
    # the fastest rival first
    variants = [("compile", True), ("compile", False), ("eager", True), ("eager", False)]
    if device == "cpu":
        jobs, variants = [(TINY, FORWARD, 1), (TINY, TRAINING, 16)], [("compile", True), ("eager", True)]
    begun, theirs, after, notes = time.strftime("%Y-%m-%d", time.gmtime()), {}, {}, []
    before, found = ours(arguments.ours, jobs, device, notes)
    took = time.monotonic() - begin

    def keep():  # what runs out of time or breaks down next loses nothing
        return write(arguments.out, results(jobs, begun, before, after, theirs, found, device, notes))

    keep()
    for how, pure in variants:
        for job in jobs:
            if job[1] == TRAINING and pure and device == "cuda":
                continue  # float32 parameters are updated: espalier's are, too
            who = f"PyTorch {how}, " + ("float32" if device == "cpu" else "bfloat16" if pure else "autocast")
            if time.monotonic() - begin + 2 * took > arguments.seconds:
                notes.append(f"left out, no time was left: {job}, {who}")
                continue
            try:
                theirs[job, who] = milliseconds(work(*job, how, pure, device), device)
                print(f"{job} {who}: {statistics.median(theirs[job, who]):.2f} ms", flush=True)
            except Exception as error:
                notes.append(f"failed: {job}, {who}: {error}".splitlines()[0])
            keep()
            torch._dynamo.reset()
            if device == "cuda":
                torch.cuda.empty_cache()
    after, again = ours(arguments.ours, jobs, device, notes)
    found = found or again
    print("\n" + keep())
    if not theirs or any(note.startswith("failed") for note in notes):
        sys.exit("something failed" if theirs else "no rival was measured")


if __name__ == "__main__":
    main()
