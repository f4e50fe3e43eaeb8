#!/usr/bin/env bash
# Holds the files in deploy/ against the tools that read them, fetched into .tools/ where the registries allow it:
# kustomize, the loader of docker compose, kubernetes-validate; systemd-analyze where it is installed.
set -euo pipefail

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
readonly KUSTOMIZE=v5.6.0 COMPOSE=v2.16.2 KUBERNETES_VALIDATE=1.37.0
readonly TOOLS=$ROOT/.tools

say() { printf 'validate: %s\n' "$*" >&2; }

# build NAME PACKAGE@VERSION: a Go program, under this name.
build() {
    if [[ -x $TOOLS/bin/$1 ]]; then return; fi
    if ! command -v go >/dev/null; then
        say "no go: $1 is left out"
        return
    fi
    say "building $1 (once, minutes)"
    local scratch built
    scratch=$(mktemp -d "$TOOLS/go.XXXXXX")
    if GOBIN=$scratch CGO_ENABLED=0 go install "$2" >"$scratch/log" 2>&1; then
        built=$(find "$scratch" -type f -perm -u+x)
        mv "$built" "$TOOLS/bin/$1"
    else
        tail -n 3 "$scratch/log" >&2
        say "$1 could not be built: it is left out"
    fi
    rm -rf "$scratch"
}

mkdir -p "$TOOLS/bin"
build kustomize "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE"
build compose-go "github.com/compose-spec/compose-go/v2/cmd@$COMPOSE"
if [[ ! -e $TOOLS/bin/kubernetes-validate ]]; then
    if python3 -m venv "$TOOLS/validate" &&
        "$TOOLS/validate/bin/pip" install --quiet "kubernetes-validate==$KUBERNETES_VALIDATE"; then
        ln -sfn ../validate/bin/kubernetes-validate "$TOOLS/bin/kubernetes-validate"
    else
        say "kubernetes-validate could not be installed: it is left out"
    fi
fi

cd "$ROOT"
if command -v systemd-analyze >/dev/null; then
    # The programs themselves are not installed here.
    scratch=$(mktemp -d)
    for unit in deploy/systemd/*.service; do
        sed -E 's#/opt/shoal/(bin|\.tools/bin)/[a-z-]+#/bin/true#' "$unit" >"$scratch/${unit##*/}"
    done
    systemd-analyze verify "$scratch"/*.service
    rm -rf "$scratch"
else
    say "no systemd-analyze: the units are left out"
fi
cargo build --workspace --bins
cargo test --workspace --test deployment -- --nocapture
