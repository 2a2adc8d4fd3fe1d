#!/usr/bin/env bash
# Checks that what cannot cross to another process is refused by the compiler with a helpful error:
#   refused.sh <compiler> [flag]...
# Each refused/*.cpp must fail to compile, with one error, and its first lines say what the compiler
# must then say, in the error or in how it came to that:
#   // expect: <phrase>
# Prints what did not go so. Exit code 0 if all did. Tries a tenth of the files, at random, unless
# PRONG_TEST_FULL is set.
set -uo pipefail

folder=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)/refused

# check FILE COMPILER [FLAG]...: prints nothing if the compiler refuses the file as expected.
check() {
    local file=$1 phrases phrase output
    shift
    mapfile -t phrases < <(sed -n 's|^// expect: ||p' "$file")
    if output=$("$@" -std=c++20 -fsyntax-only -I"$(dirname -- "$file")" "$file" 2>&1); then
        echo "${file##*/}: compiles, but should be refused"
        return
    fi
    ((${#phrases[@]})) || echo "${file##*/}: does not say what to expect"
    for phrase in "${phrases[@]}"; do
        [[ $output == *"$phrase"* ]] && continue
        echo "${file##*/}: is not refused with the words \"$phrase\", but with:"
        grep -E 'error|Culprit|refuse<' <<<"$output" | head -n 5
    done
    if (($(grep -c ' error: ' <<<"$output") != 1)); then
        echo "${file##*/}: is refused with more than one error:"
        grep ' error: ' <<<"$output" | head -n 5
    fi
}
export -f check

# One file is fine, so that a compiler that refuses everything is found out.
if ! "$@" -std=c++20 -fsyntax-only -I"$folder" "$folder/accepted.cc"; then
    echo "accepted.cc: is refused, but should compile"
    exit 1
fi

# The headers are compiled once, beforehand; without that it only takes longer.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo '#include <prong/detail/task.hpp>' >"$scratch/prong.hpp"
if "$@" -std=c++20 -x c++-header "$scratch/prong.hpp" -o "$scratch/prong.hpp.gch"; then
    set -- "$@" -include "$scratch/prong.hpp"
fi

files=("$folder"/*.cpp)
if [[ -z ${PRONG_TEST_FULL:-} ]]; then
    mapfile -t files < <(shuf -n $((${#files[@]} / 10)) -e "${files[@]}")
fi
failures=$(printf '%s\0' "${files[@]}" |
    xargs -0 -P "$(nproc)" -I '{}' bash -c 'check "$@"' bash '{}' "$@")
[[ -z $failures ]] && exit 0
echo "$failures"
exit 1
