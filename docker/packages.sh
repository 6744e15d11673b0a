# Sourced by the Dockerfile's steps that fetch packages: where from, and who signs for it. See docker/build.env.

set -eu
if [ -f /run/secrets/build_environment ]; then
    set -a
    . /run/secrets/build_environment
    set +a
fi

if grep -qs 'BEGIN CERTIFICATE' /run/secrets/ca_certificates; then
    export SSL_CERT_FILE=/run/secrets/ca_certificates PIP_CERT=/run/secrets/ca_certificates
    export NODE_EXTRA_CA_CERTS=/run/secrets/ca_certificates npm_config_cafile=/run/secrets/ca_certificates
fi

# Debian's own addresses become the mirror's.
if [ -n "${DEBIAN_MIRROR:-}" ]; then
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$list" ] || sed -i "s|http://deb.debian.org/debian\( \|\$\)|$DEBIAN_MIRROR\1|" "$list"
    done
fi

export PATH="/opt/build/bin:$PATH" UV_CACHE_DIR=/var/cache/uv DEBIAN_FRONTEND=noninteractive
