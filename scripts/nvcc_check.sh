#!/usr/bin/env bash
# Compiles every kernel file and the simulator's test kernels with nvcc, warnings as errors, and prints what each kernel
# takes. Spills and stack frames fail unless scripts/spills.txt names kernel and architecture with a reason; so does a line
# there that holds no longer.
#   scripts/nvcc_check.sh [FOLDER]     (keeps cubins and ptxas's words in FOLDER)
set -euo pipefail
cd "$(dirname "$0")/.."

nvcc=${ESPALIER_NVCC:-${CUDA_HOME:+$CUDA_HOME/bin/nvcc}}
[ -n "$nvcc" ] || nvcc=$(command -v nvcc || echo target/cuda/nvidia/cu13/bin/nvcc)
[ -x "$nvcc" ] || { echo "no nvcc: scripts/cuda_toolkit.sh installs one, or set CUDA_HOME" >&2; exit 1; }
out=${1:-}
[ -n "$out" ] || { out=$(mktemp -d); trap 'rm -rf "$out"' EXIT; }
mkdir -p "$out"

newest=$("$nvcc" --list-gpu-arch | sed -n 's/^compute_\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
archs=$(printf '%s\n' 80 86 90a "$newest" | awk '!seen[$0]++')
compile() { # nvcc, folder, kernel file, architecture
    name=$2/$(basename "$3" .cu).$4 start=$(date +%s.%N)
    rm -f "$name".*
    "$1" -std=c++17 -cubin -arch="sm_$4" -Xptxas -v -Werror all-warnings -o "$name.cubin" "$3" >"$name.log" 2>&1 ||
        touch "$name.failed"
    date +%s.%N | awk -v start="$start" '{ printf "%.1f\n", $1 - start }' >"$name.seconds"
}
export -f compile
for arch in $archs; do printf '%s\n' cuda/*.cu cuda/sim/test_kernels.cu | sed "s/\$/ $arch/"; done |
    xargs -P 2 -L 1 bash -c 'compile "$0" "$1" "$2" "$3"' "$nvcc" "$out"

for log in "$out"/*.log; do
    name=$(basename "$log" .log)
    [ ! -e "${log%.log}.failed" ] || sed "s/^/FAILED ${name%.*} sm_${name##*.} /" "$log"
    awk -v file="${name%.*}" -v arch="sm_${name##*.}" '
        /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; stack = spills = 0 }
        /bytes stack frame/ { for (i = 2; i <= NF; i++) { if ($i == "stack") stack = $(i-2)
                                                          if ($i == "stores," || $i == "loads") spills += $(i-3) } }
        /Used [0-9]+ registers/ { registers = shared = 0
            for (i = 2; i <= NF; i++) { if ($i ~ /^registers/) registers = $(i-1)
                                       if ($i ~ /^smem/) shared = $(i-2) }
            print "KERNEL", kernel, arch, registers, shared, stack, spills, file }' "$log"
done >"$out/kernels.txt"

awk -v list=scripts/spills.txt '
    BEGIN { while ((getline line < list) > 0) {
                count = split(line, word, " ")
                if (line ~ /^#/ || !count) continue
                if (count < 3) { print "scripts/spills.txt: no reason: " line; bad++ }
                listed[word[1] " " word[2]] = 1 }
            print "| kernel | file | arch | registers | static shared | stack | spills |\n|---|---|---|--:|--:|--:|--:|" }
    /^FAILED/ { print; bad++ }
    /^KERNEL/ { kernels++; print "| " $2 " | " $8 " | " $3 " | " $4 " | " $5 " | " $6 " | " $7 " |"
        key = $2 " " $3
        if ($6 + $7 == 0) next
        spilled[key] = 1
        if (key in listed) next
        wrong = wrong key ": " $6 " bytes of stack, " $7 " of spills, not in scripts/spills.txt\n"; bad++ }
    END { printf "%s", wrong
        for (key in listed) if (!(key in spilled)) {
            print key ": in scripts/spills.txt, but takes neither stack nor spills"; bad++ }
        if (!kernels) { print "no kernel was compiled"; bad++ }
        print kernels + 0 " kernels, " bad + 0 " faults"
        exit bad > 0 }' "$out/kernels.txt" && status=0 || status=$?
cat "$out"/*.seconds | awk '{ total += $1; if ($1 > most) most = $1 }
    END { printf "%d compilations, %.1f s in all, %.1f s the longest\n", NR, total, most }'
exit "$status"
