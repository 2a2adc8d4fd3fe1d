#!/usr/bin/env bash
# Checks that the folders of lib/ include only what stands below them (lib/README.md, "Layers").
# Prints each include that does not. Exit code 0 if there is none.
set -euo pipefail

lib=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../../lib" && pwd -P)

# Each folder, and those that it may include besides itself.
declare -A allowed=(
    [pch]=''
    [base]=''
    [os]='base'
    [diag]='base os'
    [shm]='base os'
    [codec]='base os diag'
    [ring]='base os shm'
    [proc]='base os diag shm'
    [sync]='base os shm proc'
    [buffer]='base os shm proc sync'
    [ipc]='base os codec diag'
    [asio]='base os ipc proc'
    [manager]='base os codec diag ring ipc proc'
    [executor/shared]='base os diag shm codec ring proc'
    [executor/worker]='base os diag shm codec ring proc executor/shared'
    [executor/relay]='base os diag shm codec ring proc executor/shared executor/worker'
    [executor/supervisor]='base os diag shm codec ring proc executor/shared executor/worker executor/relay'
    [executor/parent]='base os diag shm codec ring proc sync buffer executor/shared executor/relay executor/supervisor'
    [executor/serving]='base os diag shm codec ring proc executor/shared executor/relay executor/parent'
    [mpi]='base os codec diag ring proc executor/relay executor/serving'
)

failures=0
while IFS= read -r file; do
    folder=${file#"$lib"/} folder=${folder%/*}
    if [[ ! -v allowed[$folder] ]]; then
        echo "$folder: is not in the table of ${BASH_SOURCE[0]##*/}"
        failures=1
        continue
    fi
    while IFS= read -r included; do
        below=${included%/*}
        [[ " $folder ${allowed[$folder]} " == *" $below "* ]] && continue
        echo "${file#"$lib"/} includes $included"
        failures=1
    done < <(sed -n 's/^#include "\(.*\)"$/\1/p' "$file")
done < <(find "$lib" -name '*.cpp' -o -name '*.hpp')
exit "$failures"
