# shellcheck shell=bash
# Sourced by test/run, test/fuzz/run, examples/run, bench/run, .packaging/deb and .ci/run: installs the
# packages that are missing, configures a build folder and builds in it.
# shellcheck disable=SC2034 # the lists of needs are for the scripts that source this

prong_root=$(CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# A need is "packages|probe": Debian's names for it, the best first, and a test for whether it is there
# already, from any source.
build_needs=(
    'g++|command g++'
    'meson|command meson'
    'ninja-build|command ninja'
    'pkgconf|command pkg-config'
    'libboost1.81-dev libboost-dev|header boost/pfr.hpp' # PFR came with 1.75; Debian 12 also has 1.74
    'libboost-stacktrace1.81-dev libboost-stacktrace-dev|library boost_stacktrace_backtrace'
    'libcereal-dev|header cereal/cereal.hpp'
    'nettle-dev|header nettle/hmac.h'
)
example_needs=(
    'libcli11-dev|header CLI/CLI.hpp'
    'libssl-dev|header openssl/evp.h'
)
open_mpi_needs=(
    'libopenmpi-dev|command mpicxx.openmpi'
    'openmpi-bin|command mpirun.openmpi'
)
test_needs=(
    "${example_needs[@]}"
    "${open_mpi_needs[@]}"
    'libmpich-dev|command mpicxx.mpich'
    'mpich|command mpirun.mpich'
    'iproute2|command ip' # several hosts on this machine
    'catch2|header catch2/catch.hpp catch2/catch_all.hpp'
    'python3|command python3' # the other end of connections
    'curl|command curl'
    'strace|command strace'
    'spin|command spin'
    'valgrind|command valgrind'
)
bench_needs=(
    'libcli11-dev|header CLI/CLI.hpp'
    'libtbb-dev|header oneapi/tbb.h'
    'python3|command python3'
)
mpi_bench_needs=(
    "${open_mpi_needs[@]}"
    'python3-mpi4py|package python3-mpi4py'
)
fuzz_needs=(
    'clang-16|command clang++-16'
    'libclang-rt-16-dev|package libclang-rt-16-dev'
    'llvm|command llvm-symbolizer llvm-symbolizer-16' # for readable stacks from the sanitizers
)
package_needs=(
    "${open_mpi_needs[@]}"
    'debhelper|command dh'
    'dpkg-dev|command dpkg-buildpackage'
)
ci_needs=(
    "${fuzz_needs[@]}"
    "${package_needs[@]}"
    'cmake|command cmake'
    'clang-format-16|command clang-format-16'
    'clang-tidy-16|command clang-tidy-16'
    'shellcheck|command shellcheck'
    'doxygen|command doxygen'
)

# For programs that measure: as users build prong, but static, so that figures remain comparable.
measured_options=(-Dexamples=disabled -Ddefault_library=static --buildtype=release)

say() { printf '%s\n' "$*" >&2; }
die() {
    say "$@"
    exit 1
}

# is_there KIND NAME...: true if one of the names is on this machine.
is_there() {
    local kind=$1 name folder
    shift
    for name in "$@"; do
        case $kind in
        command) command -v "$name" >/dev/null && return 0 ;;
        package)
            [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] &&
                return 0
            ;;
        library)
            compgen -G "/usr/lib*/*/lib$name.*" >/dev/null && return 0
            compgen -G "/usr/local/lib*/lib$name.*" >/dev/null && return 0
            ;;
        header)
            for folder in /usr/include /usr/local/include; do
                [[ -e $folder/$name ]] && return 0
            done
            ;;
        esac
    done
    return 1
}

# The first of the given packages that apt can install; the very first if it knows none of them.
available_package() {
    local package
    for package in "$@"; do
        if apt-cache show "$package" >/dev/null 2>&1; then
            echo "$package"
            return
        fi
    done
    echo "$1"
}

# need NEED...: installs what is missing, as root; otherwise says what is missing and ends.
need() {
    local spec packages probe
    local -a missing=() names words
    for spec in "$@"; do
        packages=${spec%%|*} probe=${spec#*|}
        read -ra words <<<"$probe"
        is_there "${words[@]}" || missing+=("$packages")
    done
    ((${#missing[@]} == 0)) && return
    if ((EUID != 0)); then
        names=("${missing[@]%% *}")
        die "Packages are missing: ${names[*]}" \
            $'\n'"Install them as root:  apt-get update && apt-get install ${names[*]}"
    fi
    command -v apt-get >/dev/null || die "Missing, and no apt-get to install it: ${missing[*]%% *}"
    export DEBIAN_FRONTEND=noninteractive
    local -a options=(-y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
    say "Installing: ${missing[*]%% *}"
    apt-get "${options[@]}" -qq update >&2 || say 'apt-get update failed; continuing with the known packages'
    names=()
    for packages in "${missing[@]}"; do
        read -ra words <<<"$packages"
        names+=("$(available_package "${words[@]}")")
    done
    apt-get "${options[@]}" -qq install --no-install-recommends "${names[@]}" >&2
}

# True if DIR exists or can be made, and this user may write all of it.
is_writable_folder() {
    mkdir -p -- "$1" 2>/dev/null && [[ -w $1 ]] &&
        [[ -z $(find "$1" ! -type l ! -writable -print -quit) ]]
}

# build_folder NAME: where to build. In the clone; if that belongs to another user, in a folder for
# this clone in the cache of this user; else in a temporary place.
build_folder() {
    local clone_id folder
    clone_id=$(cksum <<<"$prong_root")
    for folder in "$prong_root" "${XDG_CACHE_HOME:-${HOME:-}/.cache}/prong/${clone_id%% *}"; do
        if is_writable_folder "$folder/$1"; then
            echo "$folder/$1"
            return
        fi
    done
    mktemp -d
}

# configure FOLDER [meson option]...: sets the folder up, or changes it to these options.
configure() {
    local folder=$1
    shift
    if [[ -f $folder/meson-private/coredata.dat ]]; then
        meson setup --reconfigure "$folder" "$prong_root" "$@" >&2 ||
            meson setup --wipe "$folder" "$prong_root" "$@" >&2
    else
        meson setup "$folder" "$prong_root" "$@" >&2
    fi
}

# build FOLDER [meson option]...: configures and builds everything.
build() {
    configure "$@"
    ninja -C "$1" >&2
}
