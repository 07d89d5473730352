#!/bin/sh
# Installs what the tests of faults need besides Python, where it is missing: strace, and PostgreSQL's binaries.
# Needs Debian's or Ubuntu's apt-get. No PostgreSQL is set up to run: the tests make their own in temporary folders.
set -eu

missing=""
command -v strace >/dev/null 2>&1 || missing="$missing strace"
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
if [ -z "$missing" ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "note: missing:$missing; the tests that need it are skipped. Install it with your system's packages" >&2
  exit 0
fi
run=""
if [ "$(id -u)" -ne 0 ]; then
  run="sudo"
fi
case "$missing" in
*postgresql*)
  # Else the package would make a cluster and start it.
  $run mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" | $run tee /etc/postgresql-common/createcluster.conf >/dev/null
  ;;
esac
$run apt-get update -qq
# shellcheck disable=SC2086 # one word each
$run env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing
