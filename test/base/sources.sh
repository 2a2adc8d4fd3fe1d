#!/usr/bin/env bash
# Checks that the library's sources compile one by one, without the precompiled header and their group:
#   sources.sh <compiler> [flag]...
# Prints what is missing. Exit code 0 if nothing is. Tries a tenth of the sources, at random, unless
# PRONG_TEST_FULL is set.
set -euo pipefail

lib=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../lib" && pwd -P)

# check SOURCE COMPILER [FLAG]...: prints nothing if it compiles.
# shellcheck disable=SC2317 # it is called below
check() {
    local source=$1 said
    shift
    if ! said=$("$@" -std=c++20 -fsyntax-only "$source" 2>&1); then
        echo "$source does not compile by itself:"
        grep -m 5 error <<<"$said"
    fi
}
export -f check

mapfile -t sources < <(find "$lib" -name '*.cpp' ! -path "$lib/mpi/channel.cpp") # that needs mpi.h
if [[ -z ${PRONG_TEST_FULL:-} ]]; then
    mapfile -t sources < <(shuf -n $((${#sources[@]} / 10)) -e "${sources[@]}")
fi
failures=$(printf '%s\0' "${sources[@]}" |
    xargs -0 -P "$(nproc)" -I '{}' bash -c 'check "$@"; true' bash '{}' "$@" "-I$lib/../include" "-I$lib")
[[ -z $failures ]] && exit 0
echo "$failures"
exit 1
