#!/usr/bin/env bash
# The dashboard's browser tests. What is not there is said as "not run: …".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
not_run() {
  echo "not run: $1"
  exit 0
}
command -v node >/dev/null 2>&1 || not_run "the browser tests need Node.js 20 or later"
[ -d node_modules/playwright-core ] || not_run "the browser tests need their packages (make build, with npm there)"
[ -f ../dist/index.html ] || not_run "the dashboard is not built (make build)"
export CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}"
[ -n "$CHROMIUM" ] || not_run "the browser tests need Chromium (CHROMIUM=path; Debian: apt-get install chromium)"
node e2e/size.mjs
exec node --test --test-concurrency=1 --test-timeout=1200000 e2e/*.test.mjs
