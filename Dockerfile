# The platform in one image: the web UI is built with Node, embedded into the binary by Rust, and neither is left in it.

FROM node:22-bookworm-slim AS ui
WORKDIR /src/frontend
COPY frontend/package.json frontend/package-lock.json frontend/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY frontend/ ./
RUN npm run build

FROM rust:1.95-bookworm AS binary
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY backend/ backend/
COPY mcp-servers/ mcp-servers/
COPY migrations/ migrations/
COPY --from=ui /src/frontend/dist/ frontend/dist/
RUN cargo build --release --locked --package syndarix --bin syndarix

FROM debian:12-slim
# git: repositories and worktrees. curl: the health check. python3: the demonstration's project, and the guard around
# sandboxed commands that end too late. Add here what your projects' own tests need; agents cannot install it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl git python3 util-linux \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/syndarix --shell /usr/sbin/nologin syndarix \
    && install -d -o syndarix -g syndarix -m 0711 /var/lib/syndarix
COPY --from=binary /src/target/release/syndarix /usr/local/bin/syndarix
# By number, so that an orchestrator can see that it is not root.
USER 10001
ENV SYNDARIX_DATA_DIR=/var/lib/syndarix \
    SYNDARIX_LISTEN=0.0.0.0:8000 \
    SYNDARIX_LOG_FORMAT=json
VOLUME /var/lib/syndarix
EXPOSE 8000
# A stop drains within 30 s; give it more than Docker's 10.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--show-error", "--output", "/dev/null", "http://127.0.0.1:8000/readyz"]
ENTRYPOINT ["syndarix"]
CMD ["serve"]
