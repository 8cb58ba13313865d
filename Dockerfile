# One image for every service: docker build -t mediamesh .
FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends cmake g++ make nasm
# rust-toolchain.toml asks for tools that only developers need
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin mediamesh
RUN install -D target/release/mediamesh /out/mediamesh && mkdir /out/data

# asks grpc.health.v1 where no kubelet does
FROM golang:1.26-bookworm AS probe
ARG PROBE=github.com/grpc-ecosystem/grpc-health-probe@v0.4.42
# built where it lies: its own go.sum names the hash of everything it needs
RUN go mod download "$PROBE" && cd "$(go env GOMODCACHE)/$PROBE" && \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/grpc-health-probe .

# glibc, libstdc++ and certificates; no shell, no package manager
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=probe /out/grpc-health-probe /usr/local/bin/grpc-health-probe
COPY --from=build /out/mediamesh /usr/local/bin/mediamesh
COPY --from=build --chown=65532:65532 /out/data /data
# Containers are called from outside, so an API key is asked for: see docs/deploy.md.
ENV MEDIAMESH_DATA_DIR=/data \
    MEDIAMESH_LISTEN=0.0.0.0:8080 \
    MEDIAMESH_GRPC_LISTEN=0.0.0.0:50051 \
    MEDIAMESH_IDENTITY__REQUIRED=true \
    MEDIAMESH_TELEMETRY__LOG_FORMAT=json
USER 65532:65532
VOLUME /data
EXPOSE 8080 50051
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["/usr/local/bin/grpc-health-probe", "-addr=127.0.0.1:50051"]
ENTRYPOINT ["/usr/local/bin/mediamesh"]
CMD ["up"]
