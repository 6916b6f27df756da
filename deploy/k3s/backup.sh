#!/bin/bash
# Keeps what Wasmbed cannot make again: its objects with their status, the devices' authority, the revoked keys, the keys of
# webhooks. Redis is not in it: it is rebuilt from these and from the devices.
#
#   backup.sh FILE [--kubeconfig FILE]
set -euo pipefail
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in '' | -h | --help) sed -n '2,/^set /{/^set /!p}' "$0" | sed 's/^# \{0,1\}//' && exit 0 ;; esac
file=$1
shift
[ "${1:-}" != --kubeconfig ] || kubeconfig=${2:?--kubeconfig needs a file}
: "${kubeconfig:=/etc/rancher/k3s/k3s.yaml}"
[ -r "$kubeconfig" ] || die "$kubeconfig is not there" "Give --kubeconfig."
keeper save "$file" --kubeconfig "$kubeconfig"
say "$file holds the key of the devices' authority: keep it as you keep keys."
