#!/bin/sh
# What the published image does at its first start: a cluster, a user with a password, a database of the user's name.
set -eu
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?is not set}"
  umask 077
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  initdb -D "$data" -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=/tmp/password >/dev/null
  rm /tmp/password
  printf 'host all all all scram-sha-256\n' >> "$data/pg_hba.conf"
  printf 'CREATE DATABASE "%s"' "$POSTGRES_USER" | postgres --single -D "$data" postgres >/dev/null
fi
exec postgres -D "$data" -h '*'
