#!/bin/sh
# Installs the browser that the page tests drive, where it is missing. Needs Debian's or Ubuntu's apt-get.
set -eu

chromium="${AGENTS_OBS_CHROMIUM:-/usr/bin/chromium}"
if [ -x "$chromium" ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "error: $chromium is missing and there is no apt-get; install Chromium and name it in AGENTS_OBS_CHROMIUM" >&2
  exit 1
fi
run=""
if [ "$(id -u)" -ne 0 ]; then
  run="sudo"
fi
$run apt-get update -qq
$run env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium fonts-dejavu-core
