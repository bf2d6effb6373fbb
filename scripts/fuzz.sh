#!/usr/bin/env bash
# Fuzzes the readers of files, each target for some seconds: scripts/fuzz.sh 120 [target …]. Needs a nightly toolchain and cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:-60}
shift || true
[ $# -gt 0 ] || set -- checkpoint image recipe architecture plan
export ESPALIER_NO_NVCC=1 RAYON_NUM_THREADS=1

arch='{"family":"deit","img_size":8,"patch_size":4,"num_classes":5,"embed_dim":8,"ln_eps":1e-6,
"blocks":[{"mixer":{"kind":"attention","heads":2,"head_dim":4},"hidden":2}]}'
mkdir -p corpus/{checkpoint,image,recipe,architecture,plan}
cp ../tests/golden/base_models/pth/*.{pth,safetensors} corpus/checkpoint
cp ../tests/images/* corpus/image
cp ../src/train/recipes/*.toml corpus/recipe
echo "$arch" >corpus/architecture/deit
steps='{"kind":"heads","keep":[[0]]},{"keep":[[1]],"kind":"hidden"},{"kind":"embed","keep":[0,2,5]}'
echo "{\"method\":\"savit\",\"source\":$arch,\"steps\":[$steps]}" >corpus/plan/savit

for target; do
    cargo +nightly fuzz run --target-dir "${FUZZ_TARGET_DIR:-target}" "$target" -- -max_total_time="$seconds" -timeout=20 \
        -rss_limit_mb=3000 -max_len=65536 -print_final_stats=1
done
