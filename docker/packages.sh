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

# Debian's own addresses become the mirrors'.
of_debian() {
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$list" ] || sed -i "s|http://deb.debian.org/$1\( \|\$\)|$2\1|" "$list"
    done
}
[ -z "${DEBIAN_MIRROR:-}" ] || of_debian debian "$DEBIAN_MIRROR"
[ -z "${DEBIAN_SECURITY_MIRROR:-}" ] || of_debian debian-security "$DEBIAN_SECURITY_MIRROR"

export PATH="/opt/build/bin:$PATH" UV_CACHE_DIR=/var/cache/uv DEBIAN_FRONTEND=noninteractive
