#!/usr/bin/env bash
# One folder that checks and measures a GPU, built where there is none.
#   scripts/gpu_check.sh [build [FOLDER]]    builds it (target/gpu_check): needs Rust, a C++ compiler and nvcc (CUDA_HOME, PATH, or
#                                            what scripts/cuda_toolkit.sh installed)
# The folder needs x86-64 Linux, an NVIDIA driver and CUDA's libraries, which are looked for in ESPALIER_CUDA_LIBS, with
# python3's packages (PyTorch's will do) and where the system has them. In it:
#   ./gpu_check.sh checks|kernels|models|rivals|all [RESULTS]    8 minutes a part at most
# writes RESULTS/<card>/<date>-<commit>-<part>.{json,md,log} (RESULTS: results, beside this script).
# ESPALIER_CHECK_DEVICE=cuda-sim tries the machinery out on the simulator, with few and small cases; ESPALIER_CHECKS are parts of the
# names of the checks to run, by default all.
set -euo pipefail

LIMIT=480         # seconds of a part
MOST=60000000     # bytes of the folder

die() { echo "gpu_check: $*" >&2; exit 1; }
wrong() { echo "gpu_check: $*" >&2; exit 2; }

here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)

# Only a whole new folder takes the place of an old one, and of nothing else.
build() {
    [ ! -e "$here/commit" ] || wrong "this is the folder that was built: it is built by scripts/gpu_check.sh of the sources"
    cd "$here/.."
    local whole=${1:-target/gpu_check} folder commit built name file size
    whole=${whole%/}
    [ ! -e "$whole" ] || [ -f "$whole/commit" ] || [ -z "$(ls -A "$whole")" ] || wrong "$whole is there, and no such folder"
    folder=$whole.new
    commit=$(git rev-parse --short=10 HEAD)
    [ -z "$(git status --porcelain --untracked-files=no)" ] || commit+=-changed
    built=$(ESPALIER_COMMIT=$commit cargo build --release --features sim --bin espalier --bench card --test on_card \
        --message-format=json-render-diagnostics |
        sed -n 's/.*"target":{[^}]*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1 \2/p')
    rm -rf "$folder"
    mkdir -p "$folder/bin"
    while read -r name file; do strip -o "$folder/bin/$name" "$file"; done <<<"$built"
    for name in espalier card on_card; do
        [ -x "$folder/bin/$name" ] || die "cargo built no $name"
    done
    "$folder/bin/espalier" doctor --json | grep -q '"embedded":\["' ||
        die "no kernels are built in: set CUDA_HOME, or run scripts/cuda_toolkit.sh"
    cp -r tests/golden "$folder/golden"
    cp benches/rivals_torch.py benches/torch_models.py scripts/gpu_check.sh "$folder/"
    echo "$commit" >"$folder/commit"
    du -sh --apparent-size "$folder"/*
    size=$(du -sb "$folder" | cut -f1)
    echo "$whole: $size bytes, at most $MOST"
    [ "$size" -le "$MOST" ] || die "$folder is too large"
    rm -rf "$whole"
    mv "$folder" "$whole"
}

# Folders of CUDA's libraries among python3's packages, joined by colons.
python_libraries() {
    python3 - 2>/dev/null <<'PYTHON' || true
import importlib.util, os
parts = {"nvidia": ["cu13/lib", "cublas/lib", "cuda_nvrtc/lib"], "torch": ["lib"]}
specs = {name: importlib.util.find_spec(name) for name in parts}
found = [os.path.join(root, part) for name, spec in specs.items() if spec
         for root in spec.submodule_search_locations or [] for part in parts[name]]
print(":".join(filter(os.path.isdir, found)))
PYTHON
}

# Sets card, driver and commit, or says why there is no GPU.
look() {
    commit=$(cat "$here/commit" 2>/dev/null) || die "no file commit beside this script: the folder is not whole"
    if [ -z "${ESPALIER_CUDA_LIBS:-}" ]; then
        ESPALIER_CUDA_LIBS=$(python_libraries)
        [ -z "$ESPALIER_CUDA_LIBS" ] && unset ESPALIER_CUDA_LIBS || export ESPALIER_CUDA_LIBS
    fi
    local said
    said=$("$here/bin/espalier" doctor) && [ -n "$said" ] || die "bin/espalier does not run here"
    card=$(sed -n 's/^cuda   *//p' <<<"$said")
    driver=$(sed -n 's/^cuda libraries  *//p' <<<"$said")
    if [ "$device" = cuda ]; then
        case $card in "not in use: "*) echo "no GPU: ${card#not in use: }" >&2; exit 3 ;; esac
        card=${card%%, compute capability*}
    else
        card=$device
    fi
    echo "$card; $driver; commit $commit"
}

# Runs a command within the part's time, its words on the terminal and in the part's log. 124: it did not end.
timed() {
    local status=0
    timeout -k 10 "$((LIMIT - SECONDS > 5 ? LIMIT - SECONDS : 5))" "$@" 2>&1 | tee -a "$prefix.log" || status=${PIPESTATUS[0]}
    [ "$status" -ne 137 ] || [ "$SECONDS" -lt "$LIMIT" ] || status=124 # it had to be killed
    [ "$status" -ne 124 ] || echo "gpu_check: $part did not end within $LIMIT seconds" | tee -a "$prefix.log" >&2
    return "$status"
}

# The table of checks from the log's "test NAME ... RESULT", in both forms. A sanitizer that does not end is no failure.
tabulate() {
    date=$(date -u +%F) commit=$commit card=$card driver=$driver out=$prefix awk '
        function json(text) { gsub(/[\001-\037]/, " ", text); gsub(/["\\]/, "\\\\&", text); return "\"" text "\"" }
        /^== / { tool = $2 "/" }
        /^test .* \.\.\. / { name = tool $2; names[++n] = name }
        n && / \.\.\. (ok|FAILED)$|^(ok|FAILED)$/ { result[names[n]] = $NF }
        /^[0-9]+ passed, [0-9]+ failed$/ { golden = $1; bad = $3 }
        END {
            date = ENVIRON["date"]; commit = ENVIRON["commit"]; card = ENVIRON["card"]; driver = ENVIRON["driver"]; out = ENVIRON["out"]
            text = "# checks\n\n" date ", " card ", commit " commit ", " driver ". Golden cases: " golden + 0 " passed, " bad + 0 " failed" \
                   ".\n\n| check | result |\n|---|---|\n"
            for (i = 1; i <= n; i++) {
                found = names[i] in result ? result[names[i]] : "did not end"
                passed += found == "ok"; failed += found == "FAILED"
                broken += found == "FAILED" || found != "ok" && names[i] !~ /^(memcheck|racecheck)\//
                text = text "| " names[i] " | " found " |\n"
                rows = rows (i > 1 ? ",\n    " : "") "{\"check\": " json(names[i]) ", \"result\": " json(found) "}"
            }
            printf "%s", text >(out ".md")
            counts = sprintf("\"passed\": %d, \"failed\": %d, \"did_not_end\": %d", passed, failed, n - passed - failed)
            printf "{\n  \"part\": \"checks\", \"date\": %s, \"commit\": %s, \"card\": %s,\n", json(date), json(commit), json(card) >(out ".json")
            printf "  \"libraries\": %s, \"golden_passed\": %d, \"golden_failed\": %d,\n", json(driver), golden, bad >(out ".json")
            printf "  %s, \"rows\": [\n    %s\n  ]\n}\n", counts, rows >(out ".json")
            if (n == 0) print "no check ran: none has ESPALIER_CHECKS in its name"
            printf "%d passed, %d failed, %d did not end\n", passed, failed, n - passed - failed
            exit n == 0 || broken > 0
        }' "$prefix.log"
}

checks() {
    local status=0 sanitizer tool found
    export ESPALIER_TEST_DEVICE=$device ESPALIER_GOLDEN_DEVICE=$device ESPALIER_GOLDEN=$here/golden
    [ "$device" = cuda ] || export ESPALIER_TEST_SHAPES=${ESPALIER_TEST_SHAPES:-2}
    timed "$here/bin/on_card" --test-threads=1 --nocapture ${ESPALIER_CHECKS:-} || status=1
    sanitizer=$(PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin command -v compute-sanitizer || true)
    if [ "$device" = cuda ] && [ -n "$sanitizer" ]; then
        for tool in memcheck racecheck; do
            [ $((LIMIT - SECONDS)) -gt 60 ] || { echo "no time was left for $tool" | tee -a "$prefix.log"; continue; }
            echo "== $tool" | tee -a "$prefix.log"
            found=0
            ESPALIER_TEST_SHAPES=3 timed "$sanitizer" --tool "$tool" --error-exitcode 9 "$here/bin/on_card" --test-threads=1 \
                --nocapture agree_with_the_processor device_fused:: || found=$?
            case $found in 0) found=ok ;; 124) found='did not end' ;; *) found=FAILED ;; esac
            echo "test finds_nothing ... $found" | tee -a "$prefix.log"
        done
    fi
    tabulate || status=1
    return "$status"
}

bench() { # kernels or models
    local quick=()
    [ "$device" = cuda ] || quick=(--test)
    export ESPALIER_BENCH_PART=$1 ESPALIER_BENCH_DEVICES=$device ESPALIER_BENCH_OUT=$prefix ESPALIER_BENCH_SECONDS=$((LIMIT - 80))
    CRITERION_HOME=$(mktemp -d)
    export CRITERION_HOME
    trap 'rm -rf "$CRITERION_HOME"' EXIT
    timed "$here/bin/card" --bench "${quick[@]}"
}

rivals() {
    export ESPALIER_BENCH_PART=models # of bin/card
    timed python3 "$here/rivals_torch.py" --ours "$here/bin/card" --out "$prefix" --device "$device" --seconds $((LIMIT - 60))
}

run() {
    local status=0
    device=${ESPALIER_CHECK_DEVICE:-cuda} part=$1 results=${2:-$here/results}
    case $device in cuda | cuda-sim) ;; *) wrong "ESPALIER_CHECK_DEVICE: expected cuda or cuda-sim, found $device" ;; esac
    case $# in 1 | 2) ;; *) wrong "one part at a time, or all, then the folder of the results" ;; esac
    case ${2:-} in checks | kernels | models | rivals | all) wrong "one part at a time, or all; $2 as a folder is ./$2" ;; esac
    [ -x "$here/bin/espalier" ] || die "no bin/espalier beside this script: 'scripts/gpu_check.sh build' makes the folder"
    look
    [ "$part" != rivals ] || python3 -c 'import torch' 2>/dev/null || die "rivals needs a python3 with torch"
    prefix=$results/$(tr '[:upper:]' '[:lower:]' <<<"$card" | tr -cs 'a-z0-9\n' '-')/$(date -u +%F)-$commit-$part
    mkdir -p "$(dirname "$prefix")" 2>/dev/null && [ -w "$(dirname "$prefix")" ] || die "$results cannot be written to"
    rm -f "$prefix".{json,md} # of a run before
    : >"$prefix.log"
    SECONDS=0
    case $part in
        checks) checks || status=$? ;;
        kernels | models) bench "$part" || status=$? ;;
        rivals) rivals || status=$? ;;
    esac
    echo "$part: $([ "$status" -eq 0 ] && echo done || echo FAILED) after $SECONDS s; $prefix.*"
    return "$status"
}

default=build
[ ! -e "$here/commit" ] || default=usage
case ${1:-$default} in
    build) build "${2:-}" ;;
    checks | kernels | models | rivals) run "$@" ;;
    all)
        status=0
        for part in checks kernels models rivals; do "${BASH_SOURCE[0]}" "$part" "${@:2}" || status=$?; done
        exit "$status"
        ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
