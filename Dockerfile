# The image: one program, what it links, and nothing else.
#
#   docker build --build-arg GIT_SHA=$(git rev-parse HEAD) -t lucebox .                            every supported NVIDIA card
#   docker build --build-arg DFLASH_CUDA_ARCHES=86 -t lucebox .                                    one card, much faster
#   docker build --build-arg BUILD_BASE=debian:bookworm --build-arg DFLASH_CUDA_ARCHES= -t lucebox .   CPU only
#
# Stage one compiles, and lays out the root file system of the image; the last stage is that and nothing more. libcuda is no part
# of either: the program opens the driver that the NVIDIA Container Toolkit brings, when it starts.
ARG CUDA_VERSION=12.8.1
# Ubuntu 24.04, because the build needs CMake 3.25 and Boost 1.81.
ARG BUILD_BASE=nvidia/cuda:${CUDA_VERSION}-devel-ubuntu24.04
# "compiled", or "prebuilt" to take build/image/lucebox of this machine as it is (tests do). buildah 1.28,
# that of Debian 12, does not follow the default to an earlier stage: it needs --build-arg BINARY=compiled.
ARG BINARY=compiled

FROM ${BUILD_BASE} AS compiled
COPY image/build-packages.sh /tmp/
RUN /tmp/build-packages.sh compile
WORKDIR /src
COPY . .
# Empty: CPU only.
ARG DFLASH_CUDA_ARCHES="75;80;86;89;90;120"
ARG GIT_SHA=""
ARG IMAGE_TAG=""
ARG BUILD_TIME=""
RUN GIT_SHA="$GIT_SHA" IMAGE_TAG="$IMAGE_TAG" BUILD_TIME="$BUILD_TIME" image/compile.sh "$DFLASH_CUDA_ARCHES" /out/lucebox
RUN image/rootfs.sh /out/lucebox /rootfs "$GIT_SHA" "$IMAGE_TAG" "$BUILD_TIME"

FROM ${BUILD_BASE} AS prebuilt
COPY image/build-packages.sh /tmp/
RUN /tmp/build-packages.sh layout
WORKDIR /src
COPY image image
COPY models models
COPY build/image/lucebox /out/lucebox
ARG GIT_SHA=""
ARG IMAGE_TAG=""
ARG BUILD_TIME=""
RUN image/rootfs.sh /out/lucebox /rootfs "$GIT_SHA" "$IMAGE_TAG" "$BUILD_TIME"

FROM ${BINARY} AS laid-out

FROM scratch
COPY --from=laid-out /rootfs /

ARG GIT_SHA=""
ARG IMAGE_TAG=""
ARG BUILD_TIME=""
LABEL org.opencontainers.image.title="Lucebox" \
      org.opencontainers.image.description="A fast local LLM server" \
      org.opencontainers.image.source="https://github.com/Luce-Org/lucebox-hub" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${GIT_SHA}" \
      org.opencontainers.image.version="${IMAGE_TAG}" \
      org.opencontainers.image.created="${BUILD_TIME}"

# Host and port by their older names, which LUCEBOX_HOST and LUCEBOX_PORT outrank and -e DFLASH_PORT replaces.
# Both folders of driver libraries that toolkits use; the loader's cache may be read-only. `compute` is CUDA, `utility` NVML.
ENV PATH=/usr/bin:/bin \
    LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:/usr/lib64:/usr/lib/wsl/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    HOME=/tmp \
    DFLASH_HOST=0.0.0.0 \
    DFLASH_PORT=8080 \
    LUCEBOX_MODELS=/models \
    LUCEBOX_CACHE=/models \
    LUCEBOX_HOST_INFO=/tmp/host-info.json
VOLUME /models
EXPOSE 8080
# Any other user works as well: docker run --user.
USER 65532:65532
STOPSIGNAL SIGTERM
# A large model takes minutes to load; until then a failing check does not count.
HEALTHCHECK --interval=30s --timeout=10s --start-period=900s --retries=3 CMD ["/usr/bin/lucebox", "healthcheck"]
ENTRYPOINT ["/usr/bin/lucebox", "entry"]
