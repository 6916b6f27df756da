#!/bin/bash
# Puts a backup back, before the functions run: into a new cluster, or into one from which Wasmbed was removed. Afterwards
# install.sh brings the rest, and the devices find what they know: their authority, their objects, their revisions.
#
#   restore.sh FILE [--kubeconfig FILE] [--dry-run]
set -euo pipefail
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in '' | -h | --help) sed -n '2,/^set /{/^set /!p}' "$0" | sed 's/^# \{0,1\}//' && exit 0 ;; esac
file=$1
shift
while [ $# -gt 0 ]; do
  case $1 in
  --kubeconfig) kubeconfig=${2:?--kubeconfig needs a file} && shift ;;
  --dry-run) dry=1 ;;
  *) die "unknown argument $1" ;;
  esac
  shift
done
[ -r "$file" ] || die "$file is not there"
step "1 what is in it"
keeper show "$file"
step "2 CRDs, namespace, accounts, roles"
run k apply --server-side -k "$root/config/crd" >/dev/null
run k wait --for=condition=Established crd -l app.kubernetes.io/part-of=wasmbed --timeout=60s >/dev/null
run k apply --server-side -k "$root/config/rbac" >/dev/null
step "3 objects and Secrets; what is there is left alone"
run keeper restore "$file" --kubeconfig "${kubeconfig:-/etc/rancher/k3s/k3s.yaml}"
step "Restored. Now: $here/install.sh"
