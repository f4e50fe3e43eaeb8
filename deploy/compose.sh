#!/usr/bin/env bash
# Starts the fleet of deploy/compose.yaml; makes the secrets the first time.
#   deploy/compose.sh [cluster] [up arguments…]      as in: deploy/compose.sh cluster --scale worker=4
# COMPOSE_PROFILES adds profiles: COMPOSE_PROFILES=observe,gpu deploy/compose.sh
set -euo pipefail
cd "${BASH_SOURCE[0]%/*}"

profile=single
if [[ ${1-} == cluster ]]; then
    profile=cluster
    shift
    export SHOAL_NATS_URL=nats://n1:4222,nats://n2:4222,nats://n3:4222 SHOAL_REPLICAS=3
fi
export COMPOSE_PROFILES=$profile${COMPOSE_PROFILES:+,$COMPOSE_PROFILES}
image=${SHOAL_IMAGES-}shoal-operator:${SHOAL_VERSION:-0.1.0}

if [[ ! -e secrets/keys.conf ]]; then
    docker image inspect "$image" >/dev/null 2>&1 ||
        docker build --file docker/Dockerfile --target operator --tag "$image" ..
    mkdir -m 700 -p secrets
    docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD/secrets:/keys" "$image" keys new /keys
    head -c 24 /dev/urandom | base64 >secrets/grafana-password
fi
[[ -e secrets/admin-password ]] || head -c 18 /dev/urandom | base64 >secrets/admin-password
# Containers of another user read the files; on this host the folder keeps everybody else out.
chmod 644 secrets/*
exec docker compose --file compose.yaml up --detach --build "$@"
