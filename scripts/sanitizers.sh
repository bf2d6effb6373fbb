#!/bin/sh
# Runs tests with the simulated kernels under AddressSanitizer and UndefinedBehaviorSanitizer; what is wrong ends the test
# with the line of the kernel. Arguments are cargo test's: scripts/sanitizers.sh --test simulator softmax
set -eu
cd "$(dirname "$0")/.."
export ESPALIER_SIM_SANITIZE=address,undefined
export ESPALIER_TEST_SHAPES="${ESPALIER_TEST_SHAPES:-6}" # of each case: it is slow
# Only the C++ side is instrumented, so that stable Rust will do: the runtimes have to be loaded before the program, and
# only into it, not into cargo. Rust's own leaks at exit are not looked for.
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
runtimes="$(g++ -print-file-name=libasan.so):$(g++ -print-file-name=libubsan.so)"
export "CARGO_TARGET_${host}_RUNNER=env LD_PRELOAD=$runtimes ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1"
exec cargo test --release --features sim "$@"
