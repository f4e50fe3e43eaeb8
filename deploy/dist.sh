#!/usr/bin/env bash
# Puts a release into dist/: binaries, completions, manual pages, bills of materials, configuration, checksums.
# Called by `make dist` after a release build; the binaries need glibc and nothing else.
set -euo pipefail

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)
built=${1:?usage: deploy/dist.sh FOLDER-OF-BINARIES}
built=$(cd "$built" && pwd -P)
cd "$ROOT"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
target=$(rustc -vV | sed -n 's/^host: //p')
name=shoal-$version-$target
binaries=(shoal shoal-gateway shoal-worker shoal-loadtest)

rm -rf dist
mkdir -p dist/bin "dist/$name"/{bin,share/completions,share/man/man1,share/doc,share/sbom,conf,systemd}
for binary in "${binaries[@]}"; do
    strip -o "dist/bin/$binary" "$built/$binary"
    python3 deploy/sbom.py "$binary" >"dist/bin/$binary.cdx.json"
    needs=$(ldd "dist/bin/$binary" | awk '{ print $1 }' |
        grep -vE '^(linux-vdso|lib(c|m|dl|rt|pthread|gcc_s)\.so|/lib.*/ld-linux)' || true)
    if [[ $needs ]]; then
        printf 'dist: %s needs more than glibc: %s\n' "$binary" "$needs" >&2
        exit 1
    fi
done
cp "${binaries[@]/#/dist/bin/}" "dist/$name/bin/"
cp dist/bin/*.cdx.json "dist/$name/share/sbom/"
for shell in bash zsh fish; do
    dist/bin/shoal completions $shell >"dist/$name/share/completions/shoal.$shell"
done
dist/bin/shoal man "dist/$name/share/man/man1"
cp README.md CHANGELOG.md LICENSE-* "dist/$name/"
cp docs/*.md "dist/$name/share/doc/"
cp nats/*.conf deploy/haproxy.cfg "dist/$name/conf/"
cp deploy/systemd/*.service "dist/$name/systemd/"
# The same tree gives the same archive: names in order, no owners, the time of the last commit.
time=$(git log -1 --format=%ct 2>/dev/null || echo 0)
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$time" -C dist -c "$name" | gzip -n >"dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" bin/* >SHA256SUMS)
glibc=$(objdump -T dist/bin/shoal* 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1 || true)
printf 'dist/%s.tar.gz, needs glibc %s or newer\n' "$name" "${glibc#GLIBC_}"
