# The service in a container. CPU: docker build -t autoencoder-service .
# GPU:  docker build -t autoencoder-service:gpu --build-arg ACCELERATOR=gpu .
# CPU with OpenVINO beside onnxruntime's own provider: --build-arg ACCELERATOR=openvino
# deploy/build.sh builds and tries it, and shows how to run it.

# Both stages must have the same Python: the packages are installed in the first and run in the last. Once the digest of
# this tag is known here, it stands behind it (`python deploy/pin_images.py`, which asks the registry).
ARG BASE=docker.io/library/python:3.11-slim-bookworm
# cpu, gpu or openvino. CUDA and cuDNN come as wheels that deploy/locked-gpu.txt pins together with onnxruntime-gpu, so that
# one base serves both; the driver comes from the host (NVIDIA Container Toolkit).
ARG ACCELERATOR=cpu
# Extras of the service that are built in, such as "pdf tracing"; none by default: what is not there cannot be attacked.
ARG EXTRAS=""

# ---- packages: what the service imports, in an environment of its own; changes with pyproject.toml and the hashes only
FROM ${BASE} AS packages
ARG ACCELERATOR
ARG EXTRAS
WORKDIR /build
COPY pyproject.toml deploy/locked-cpu.txt deploy/locked-gpu.txt deploy/locked-openvino.txt deploy/locked-sbom.txt \
     deploy/locked.py deploy/requirements.py ./
# The optional secret `ca` is a file of certificates, for networks whose proxy has its own: --secret id=ca,src=FILE
# pip refuses every file whose hash is not in deploy/locked-*.txt; pyvips, which has no wheel, is built here from its
# hashed source with hashed tools. Bytecode stays, 22 MB of it: on a read-only root file system each start would compile
# everything again, for 0.8 s.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca,required=false \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && python -m venv --without-pip /opt/autoencoder \
    && python requirements.py "${ACCELERATOR}" "${EXTRAS}" > requirements.txt \
    && python locked.py "locked-${ACCELERATOR}.txt" --without pyvips < requirements.txt > pinned.txt \
    && echo pyvips > pyvips.in \
    && python locked.py "locked-${ACCELERATOR}.txt" --alone < pyvips.in > pyvips.txt \
    && printf 'setuptools\nwheel\ncffi\npkgconfig\n' > tools.in \
    && python locked.py "locked-${ACCELERATOR}.txt" < tools.in > tools.txt \
    && python -m pip --disable-pip-version-check install \
        --require-hashes --only-binary :all: --requirement tools.txt \
    && python -m pip --disable-pip-version-check wheel \
        --require-hashes --no-deps --no-build-isolation --no-binary pyvips --requirement pyvips.txt --wheel-dir wheels \
    && python -m pip --disable-pip-version-check --python /opt/autoencoder/bin/python install \
        --require-hashes --no-compile --only-binary :all: --requirement pinned.txt \
    && python -m pip --disable-pip-version-check --python /opt/autoencoder/bin/python install \
        --no-index --no-deps --no-compile wheels/pyvips-*.whl \
    && find /opt/autoencoder -type d \( -name tests -o -name test -o -name include \) -prune -exec rm -rf {} + \
    && find /opt/autoencoder -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' -o -name '*.proto' \) -delete \
    && for nvidia in /opt/autoencoder/lib/python3*/site-packages/nvidia; do \
        if [ -d "${nvidia}" ]; then ln -s "${nvidia}" /opt/autoencoder/nvidia; fi; done \
    && /opt/autoencoder/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/autoencoder/lib

# ---- bom: what is in that environment, as CycloneDX
FROM packages AS bom
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca,required=false \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi \
    && echo cyclonedx-bom > bom.in \
    && python locked.py locked-sbom.txt < bom.in > bom.txt \
    && python -m venv /bom \
    && /bom/bin/python -m pip --disable-pip-version-check install \
        --require-hashes --only-binary :all: --requirement bom.txt \
    && /bom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /sbom.cdx.json /opt/autoencoder/bin/python

# ---- service: this repository's code and models, laid out as in the image under /staged
FROM packages AS service
COPY service service
COPY README.md ./
# pyproject.toml names the training package as well; an empty folder installs nothing of it.
RUN mkdir training \
    && python -m pip --disable-pip-version-check wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
    && python -m pip --disable-pip-version-check --python /opt/autoencoder/bin/python install \
        --no-index --no-compile --no-deps --root /staged wheels/autoencoder_service-*.whl \
    && rm /staged/opt/autoencoder/bin/autoencoder-train \
    && /opt/autoencoder/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /staged /staged/opt
COPY models /staged/models
# Whoever built it, with whatever umask: the service's user may read it, and nobody but root may write.
RUN chmod -R u=rwX,go=rX /staged

# ---- what all kinds share
FROM ${BASE} AS common
ENV PATH=/opt/autoencoder/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    AUTOENCODER_HOST=0.0.0.0 \
    AUTOENCODER_PORT=8000 \
    AUTOENCODER_MODELS=/models
# A settings file may be mounted as /app/autoencoder-service.toml.
WORKDIR /app

FROM common AS cpu

FROM common AS openvino

# A GPU image that quietly computes on the CPU is a fault: it does not start without a GPU. AUTOENCODER_PROVIDER=auto
# and AUTOENCODER_REQUIRE_PROVIDER=false permit it. The loader finds CUDA and cuDNN in the wheels; /usr/local/nvidia is
# where some Kubernetes services mount the driver.
FROM common AS gpu
ENV LD_LIBRARY_PATH=/opt/autoencoder/nvidia/cu13/lib:/opt/autoencoder/nvidia/cudnn/lib:/usr/local/nvidia/lib64 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    AUTOENCODER_PROVIDER=cuda \
    AUTOENCODER_REQUIRE_PROVIDER=true

# ---- the image
# hadolint ignore=DL3006
FROM ${ACCELERATOR}
ARG BASE
# Of one build only: --label org.opencontainers.image.revision=... and created, as deploy/build.sh gives them.
LABEL org.opencontainers.image.title="autoencoder-service" \
      org.opencontainers.image.description="Autoencoders over HTTP: encode, decode, reconstruct, denoise" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=packages /opt/autoencoder /opt/autoencoder
COPY --from=service /staged/ /
COPY --from=bom --chmod=444 /sbom.cdx.json /opt/autoencoder/sbom.cdx.json
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
# Healthy means that models can be asked; without curl, in 18 MB and 0.1 s of a core.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-ISc", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['AUTOENCODER_PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
# Exec form: the service is process 1 and takes SIGTERM itself.
ENTRYPOINT ["autoencoder-service"]
CMD ["serve"]
