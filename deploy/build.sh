#!/usr/bin/env bash
# Builds the image and tries it: what it weighs, who it runs as, whether it serves from a read-only root file system
# without any capability, takes models from a volume, refuses wrong settings, and ends well.
#
#     deploy/build.sh            builds autoencoder-service:cpu
#     deploy/build.sh gpu        builds autoencoder-service:gpu; needs the NVIDIA Container Toolkit to try all of it
#
# With docker if its daemon answers, else with buildah and podman. For unusual hosts, as words of a shell:
#     ENGINE_OPTIONS   right after docker or podman (and buildah)           BUILD_OPTIONS   of build
#     PODMAN_OPTIONS   right after podman only                              RUN_OPTIONS     of run
#     NETWORK          how to reach it; default: -p 127.0.0.1:$PORT:8000    PORT            8010
set -euo pipefail
cd "$(dirname "$0")/.."

accelerator=${1:-cpu}
image=autoencoder-service:$accelerator
port=${PORT:-8010}
url=http://127.0.0.1:$port
read -ra engine_options <<<"${ENGINE_OPTIONS:-}"
read -ra podman_options <<<"${PODMAN_OPTIONS:-}"
read -ra build_options <<<"${BUILD_OPTIONS:-}"
read -ra run_options <<<"${RUN_OPTIONS:-}"
read -ra network <<<"${NETWORK:--p 127.0.0.1:$port:8000}"

if docker version >/dev/null 2>&1; then
    builder=(docker "${engine_options[@]}")
    engine=(docker "${engine_options[@]}")
    gpus=(--gpus all)
else
    builder=(buildah "${engine_options[@]}")
    engine=(podman "${engine_options[@]}" "${podman_options[@]}")
    gpus=(--device nvidia.com/gpu=all)
    build_options+=(--format docker) # the format that keeps HEALTHCHECK
fi

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
passed() { echo "ok: $*"; }

# ---- build
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
"${builder[@]}" build "${build_options[@]}" --build-arg ACCELERATOR="$accelerator" --tag "$image" \
    --label org.opencontainers.image.revision="$revision" \
    --label org.opencontainers.image.created="$(date --utc +%Y-%m-%dT%H:%M:%SZ)" .

# ---- how it is meant to run: nothing may be written but /tmp, no capability, no new privilege, bounded memory
hardened=(--read-only --tmpfs /tmp:size=64m --cap-drop ALL --security-opt no-new-privileges --memory 4g --pids-limit 256)
folder=$(mktemp -d)
name=autoencoder-try-$$
clean() {
    "${engine[@]}" rm --force "$name" >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap clean EXIT

once() { # options of run, image, arguments; its exit code is the container's
    local code=0
    "${engine[@]}" run --name "$name" --network none "${run_options[@]}" "${hardened[@]}" "$@" || code=$?
    "${engine[@]}" rm "$name" >/dev/null 2>&1
    return "$code"
}
launch() { # options of run
    "${engine[@]}" rm --force "$name" >/dev/null 2>&1 || true
    "${engine[@]}" run --detach --name "$name" "${run_options[@]}" "${network[@]}" "${hardened[@]}" "$@" "$image" >/dev/null
}
start() { # options of run; returns when it is ready
    launch "$@"
    for _ in $(seq 300); do
        if curl --silent --fail --output /dev/null "$url/readyz"; then return; fi
        sleep 0.1
    done
    "${engine[@]}" logs "$name" >&2
    fail "not ready after 30 seconds"
}
stop() { # the exit code of the service after SIGTERM
    "${engine[@]}" stop --time 60 "$name" >/dev/null
    "${engine[@]}" inspect --format '{{.State.ExitCode}}' "$name"
}

# ---- what it is
bytes=$(once --entrypoint du "$image" --apparent-size -scB1 /opt/autoencoder /models | awk '/total/{print $1}')
passed "$((bytes / 1000000)) MB beside the base image"
if [ "$accelerator" = cpu ] && [ "$bytes" -gt 400000000 ]; then fail "over 400 MB"; fi
user=$(once --entrypoint id "$image" -u)
[ "$user" = 10001 ] || fail "runs as user $user"
passed "runs as user $user"
torch=$(once --entrypoint python "$image" -c 'import importlib.util; print(importlib.util.find_spec("torch"))')
[ "$torch" = None ] || fail "torch is inside: $torch"
passed "no torch"

# ---- a wrong setting stops the start with one line and exit code 2
code=0
said=$(once --env AUTOENCODER_MAX_REQUEST=1 "$image" 2>&1) || code=$?
[ "$code" = 2 ] && [ "$(wc -l <<<"$said")" = 1 ] || fail "a wrong setting: exit code $code, $said"
passed "a wrong setting: $said"

# ---- a GPU image without a GPU says so and does not start; with one it is tried on it
if [ "$accelerator" = gpu ]; then
    missing=$(once --entrypoint sh "$image" -c 'ldd /opt/autoencoder/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so' |
        grep 'not found' | grep -v 'libcuda.so.1 ') || true # libcuda is the driver's, and comes with it
    [ -z "$missing" ] || fail "onnxruntime's CUDA provider lacks $missing"
    passed "onnxruntime's CUDA provider finds its libraries"
    if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
        run_options+=("${gpus[@]}")
    else
        code=0
        said=$(once "$image" 2>&1) || code=$?
        [ "$code" = 2 ] || fail "without a GPU: exit code $code, $said"
        passed "without a GPU: $(tail -n 1 <<<"$said")"
        echo "no GPU here: the rest is tried on the CPU"
        run_options+=(--env AUTOENCODER_PROVIDER=auto --env AUTOENCODER_REQUIRE_PROVIDER=false)
    fi
fi

# ---- it serves
began=$(date +%s%N)
start
passed "ready after $((($(date +%s%N) - began) / 1000000)) ms"
"${engine[@]}" exec "$name" cat /proc/1/cmdline | tr '\0' ' ' | grep -q autoencoder-service || fail "process 1 is something else"
passed "the service is process 1"
if "${engine[@]}" exec "$name" touch /app/written 2>/dev/null; then fail "/app can be written"; fi
passed "the root file system is read-only"
if [ "${builder[0]}" = docker ]; then
    for _ in $(seq 30); do
        health=$(docker "${engine_options[@]}" inspect --format '{{.State.Health.Status}}' "$name")
        [ "$health" = healthy ] && break
        sleep 1
    done
    [ "$health" = healthy ] || fail "HEALTHCHECK says $health"
else
    "${engine[@]}" healthcheck run "$name" >/dev/null || fail "HEALTHCHECK fails"
fi
passed "HEALTHCHECK"
curl --silent --show-error --fail -F image=@docs/scan.png "$url/v1/models/pages/denoise" -o "$folder/page.png"
[ "$(head --bytes 4 "$folder/page.png" | tail --bytes 3)" = PNG ] || fail "a page is not answered by a PNG"
passed "a page denoised: $(stat --format %s "$folder/page.png") bytes of PNG"
code=$(stop)
[ "$code" = 0 ] || fail "exit code $code after SIGTERM"
passed "SIGTERM: exit code 0"

# ---- process 1 has no default for signals: one that comes while it starts must not be lost
launch
sleep 0.7 # Python has begun, the service has not
code=$(stop)
[ "$code" = 0 ] || fail "exit code $code after SIGTERM while it starts"
passed "SIGTERM while it starts: exit code 0"

# ---- a volume at /models replaces the models
mkdir "$folder/models"
cp -r models/cats-stacked "$folder/models/"
chmod -R a+rX "$folder"
start --volume "$folder/models:/models:ro"
served=$(curl --silent --fail "$url/v1/models" | grep -o '"name":"[^"]*"')
[ "$served" = '"name":"cats-stacked"' ] || fail "serves $served"
passed "a volume at /models replaces the models"
[ "$(stop)" = 0 ] || fail "exit code after SIGTERM"
echo "$image is built and does what it should"
