#!/usr/bin/env bash
# Plants one fault at a time (scripts/mutants.txt) in a copy of the tree and runs the tests until one of them fails. A fault
# that no test sees fails the script: the suite has a hole there.
#   scripts/mutants.sh            all of them, after the tree as it is
#   scripts/mutants.sh list       their names and what they break
#   scripts/mutants.sh NAME...    these only, without the tree as it is
# The copy and its build lie in target/mutants. LIBCLANG_PATH: the folder of libclang.so, without which the test of
# params.rs skips itself.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/target/mutants tree=$PWD/target/mutants/tree list=$PWD/scripts/mutants.txt
# The cheapest first; those behind find less that is left.
targets=(params simulator simulator_tensor tensor batchnorm train_resume data_batches device_attention kernels device_fused
    device_training gradients golden)
limit=900 # seconds of one target: what hangs was found, too
export CARGO_TARGET_DIR=$work/build CARGO_TERM_COLOR=never RUST_BACKTRACE=0 ESPALIER_NO_NVCC=1 ESPALIER_GOLDEN_DEVICE=cuda-sim

# Puts the tree's files into the copy; what is equal keeps its time, so that little is built again.
copy_tree() {
    mkdir -p "$tree"
    while IFS= read -r -d '' file; do
        if [ ! -e "$file" ]; then rm -f "$tree/$file"
        elif ! cmp -s "$file" "$tree/$file"; then mkdir -p "$tree/$(dirname "$file")" && cp "$file" "$tree/$file"; fi
    done < <(git ls-files -z --cached --others --exclude-standard)
}

names() { sed -n 's/^== //p' "$list"; }

# Makes the changes of one mutant in the copy. A text that is not there exactly once is an error: the list has to follow
# the code.
plant() {
    local name=$1 here=0 file='' from='' to='' line
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            '== '*) swap "$file" "$from" "$to"; from='' to='' file=''
                [ "$line" = "== $name" ] && here=1 || here=0 ;;
            *) [ "$here" = 1 ] || continue
                case $line in
                    '@@ '*) swap "$file" "$from" "$to"; from='' to='' file=${line#@@ } ;;
                    -*) from+=${line#-}$'\n' ;;
                    +*) to+=${line#+}$'\n' ;;
                esac ;;
        esac
    done <"$list"
    swap "$file" "$from" "$to"
}

# Replaces whole lines `from` of a file of the copy by `to`.
swap() {
    local file=$1 from=$'\n'$2 to=$'\n'$3 text rest
    [ -n "$file" ] || return 0
    [ -n "$2" ] || die "$file: nothing to replace"
    text=$'\n'$(cat "$tree/$file" && echo .) && text=${text%.}
    rest=${text//"$from"/}
    [ $(((${#text} - ${#rest}) / ${#from})) = 1 ] ||
        die "$file: expected once, found $(((${#text} - ${#rest}) / ${#from})) times:$from"
    text=${text/"$from"/"$to"}
    printf %s "${text#$'\n'}" >"$tree/$file"
}

die() { echo "$*" >&2; exit 2; }

# What the list says of a mutant behind `key: `.
said() { awk -v name="== $1" -v key="$2: " '
    /^== / { here = $0 == name } here && index($0, key) == 1 { print substr($0, length(key) + 1) }' "$list"; }

# The files that a mutant changes.
files_of() { awk -v name="== $1" '/^== / { here = $0 == name } here && /^@@ / { print $2 }' "$list" | sort -u | xargs; }

# Runs the targets until one fails: its first failing test in `caught`, nothing when all pass.
run_tests() {
    local target first skip status log=$work/log
    first=$(said "$1" first)
    caught='' skip=" $(said "$1" skip) "
    for target in $first "${targets[@]}"; do
        [[ $skip != *" $target "* ]] || continue
        [ "$target" != "$first" ] || skip+="$first " # once
        (cd "$tree" && cargo test -q --features sim --no-run --test "$target") >"$log" 2>&1 ||
            { caught="does not build"; return 0; }
        status=0
        (cd "$tree" && timeout "$limit" cargo test --features sim --test "$target") >"$log" 2>&1 || status=$?
        [ "$status" -ne 0 ] || continue
        caught=$(sed -n -e 's/^test \(.*\) \.\.\. FAILED$/\1/p' -e 's/^\([^ ]* [^ ]*\) .* FAILED$/\1/p' "$log" | head -n 1)
        [ "$status" -ne 124 ] || caught="no end in $limit s"
        [ -n "$caught" ] || caught=$(grep -oE '\(signal: [^)]*\)' "$log" | head -n 1)
        caught="$target: ${caught:-ended with status $status}"
        return 0
    done
}

case ${1:-} in
    list) names | while read -r name; do printf '%-28s %s\n' "$name" "$(said "$name" fault)"; done; exit ;;
    '') readarray -t chosen < <(names); set -- '(none)' "${chosen[@]}" ;;
    *) for name; do names | grep -qxF -- "$name" || die "no mutant $name; there are: $(names | xargs)"; done ;;
esac

echo "| mutant | fault | file | caught by | s |"
echo "|---|---|---|---|--:|"
bad=0
copy_tree
for name; do
    files=$(files_of "$name")
    plant "$name"
    start=$SECONDS
    run_tests "$name"
    echo "| $name | $(said "$name" fault) | $files | ${caught:-nothing} | $((SECONDS - start)) |"
    if [ "$name" = '(none)' ]; then
        [ -z "$caught" ] || { cat "$work/log" >&2; die "the tree as it is fails"; }
    elif [ -z "$caught" ] || [ "$caught" = "does not build" ]; then
        bad=$((bad + 1))
        cp "$work/log" "$work/$name.log"
    fi
    for file in $files; do cp "$file" "$tree/$file"; done
done
echo "$bad faults were not found"
[ "$bad" = 0 ]
