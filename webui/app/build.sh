#!/usr/bin/env bash
# Builds the dashboard's app into webui/dist, from where the Go server embeds it, when a source is newer than what is
# there. Without npm, or without its packages, it says so in one line: everything else works without the dashboard.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
sources=(src public index.html package.json package-lock.json vite.config.ts tsconfig.json build.sh)
if [ -f ../dist/index.html ] && [ -z "$(find "${sources[@]}" -newer ../dist/index.html -print -quit)" ]; then
  exit 0
fi
missing() {
  echo "the dashboard is not built: $1" >&2
  exit 0
}
command -v npm >/dev/null 2>&1 || missing "npm is missing (Node.js 20 or later, https://nodejs.org)"
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --no-fund --no-audit --loglevel=error || missing "its packages cannot be installed (npm ci, see above)"
  touch node_modules/.package-lock.json
fi
node_modules/.bin/tsc --noEmit
node_modules/.bin/vite build --logLevel warn
touch ../dist/index.html
