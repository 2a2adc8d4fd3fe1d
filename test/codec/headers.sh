#!/usr/bin/env bash
# Checks the public headers one by one:
#   headers.sh <version> <compiler> [flag]...
# Each compiles by itself. Those that encode nothing bring neither cereal nor <iostream>. version.hpp
# has the version of the build. Prints what did not go so. Exit code 0 if all did. Tries a tenth of
# the headers, at random, unless PRONG_TEST_FULL is set.
set -uo pipefail

version=$1
shift
include=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../include/prong" && pwd -P)

# check HEADER COMPILER [FLAG]...: prints nothing if the header is as it should be.
check() {
    local header=${1##*/} brought
    shift
    if ! brought=$("$@" -std=c++20 -fsyntax-only -x c++ -H - 2>&1 <<<"#include <prong/$header>"); then
        echo "$header does not compile by itself:"
        grep -m 5 error <<<"$brought"
    fi
    case $header in
    as_completed.hpp | error.hpp | fwd.hpp | future.hpp | inherit.hpp | process.hpp | stats.hpp | \
        task_options.hpp | this_task.hpp | timeout.hpp | version.hpp | wait.hpp | zygote.hpp)
        grep -m 1 -E '/cereal/|/iostream$' <<<"$brought" | sed "s|^|$header brings |"
        ;;
    codec.hpp) grep -q /cereal/ <<<"$brought" || echo "codec.hpp is not seen to bring cereal" ;;
    esac
}
export -f check

headers=("$include"/*.hpp)
if [[ -z ${PRONG_TEST_FULL:-} ]]; then
    mapfile -t headers < <(shuf -n $((${#headers[@]} / 10)) -e "${headers[@]}")
fi
failures=$(printf '%s\0' "${headers[@]}" |
    xargs -0 -P "$(nproc)" -I '{}' bash -c 'check "$@"' bash '{}' "$@")
found=$("$@" -E -P -x c++ - <<<'#include <prong/version.hpp>
PRONG_VERSION_MAJOR.PRONG_VERSION_MINOR.PRONG_VERSION_PATCH' | tr -d ' \n')
[[ $found == "$version" ]] || failures+=$'\n'"version.hpp has version $found, the build $version"
[[ -z $failures ]] && exit 0
echo "$failures"
exit 1
