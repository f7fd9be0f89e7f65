#!/bin/sh
# First start: make a configuration with one user and a password nobody knows yet. Then become `dicom-gateway "$@"`.
set -eu

config=${GATEWAY_CONFIG:-/data/config/gateway.toml}
folder=$(dirname "$config")

if [ "${1:-}" = serve ] && [ ! -e "$config" ]; then
  umask 077
  mkdir -p "$folder" 2>/dev/null || :
  if [ ! -w "$folder" ]; then
    echo "$folder cannot be written by user $(id -u): make the volume writable for it, or mount a gateway.toml there" >&2
    exit 1
  fi
  password=$(python3 -c 'import secrets; print(secrets.token_urlsafe(15))')
  hash=$(printf '%s\n' "$password" | dicom-gateway hash-password --stdin)
  printf '%s\n' "$password" >"$folder/admin-password"
  # The file with the configuration comes last: without it, this begins anew.
  cat >"$config.new" <<EOF
# Made at the first start. It is yours now: change it as you like, then send the gateway SIGHUP.
# Names of all settings: dicom-gateway check-config

[[http.users]]
name = "admin"
password = "$hash"

# Devices that may send. Without any, the gateway starts only when GATEWAY_DICOM__ALLOW_ANY_CALLER is "true".
# [modalities.ct1]
# aet = "CT1"
# host = "10.0.0.5"
EOF
  mv "$config.new" "$config"
  echo "First start: user admin, password in $folder/admin-password (read it, then delete the file)" >&2
fi

exec dicom-gateway "$@"
