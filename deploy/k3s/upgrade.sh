#!/bin/bash
# Upgrades Wasmbed with devices connected: a backup, then install.sh, whose steps are in the order that an upgrade needs (CRDs
# before what reads them, functions, gateways one after another; a gateway sends its devices to another one before it ends).
#
#   upgrade.sh BACKUP [options of install.sh]
set -euo pipefail
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in '' | -*) sed -n '2,/^set /{/^set /!p}' "$0" | sed 's/^# \{0,1\}//' && exit 0 ;; esac
file=$1
shift
args=("$@")
while [ $# -gt 0 ]; do
  case $1 in
  --kubeconfig) kubeconfig=${2:?--kubeconfig needs a file} && shift ;;
  --dry-run) dry=1 ;;
  esac
  shift
done
step "backup into $file"
run keeper save "$file" --kubeconfig "${kubeconfig:-/etc/rancher/k3s/k3s.yaml}"
"$here/install.sh" ${args[@]+"${args[@]}"}
say "To go back: install.sh with the former VERSION. CRDs of v1alpha1 only gain fields, so the former version reads what is there."
