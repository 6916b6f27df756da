#!/bin/bash
# Removes Wasmbed, and leaves nothing but what is asked to stay. It may be run again after a failure.
#
#   uninstall.sh [options]
#     --kubeconfig FILE   a cluster that is there, in place of k3s
#     --keep-data         Devices, Applications and the like stay with their CRDs, and so does the devices' authority: a
#                         later installation goes on where this one ended, and no device must be enrolled again
#     --with-knative      Knative goes too (only if nobody else uses it)
#     --with-k3s          k3s goes too, with everything in it
#     --dry-run           prints every command, and runs none
#     --yes               needed to delete data: without it or --keep-data nothing is done
set -euo pipefail
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

keep='' knative='' k3s='' yes=''
while [ $# -gt 0 ]; do
  case $1 in
  --kubeconfig) kubeconfig=${2:?--kubeconfig needs a file} && shift ;;
  --keep-data) keep=1 ;;
  --with-knative) knative=1 ;;
  --with-k3s) k3s=1 ;;
  --dry-run) dry=1 ;;
  --yes) yes=1 ;;
  -h | --help) sed -n '2,/^set /{/^set /!p}' "$0" | sed 's/^# \{0,1\}//' && exit 0 ;;
  *) die "unknown argument $1" "uninstall.sh --help lists them" ;;
  esac
  shift
done
if [ -z "$keep$yes$dry" ]; then die "this deletes every Device and Application, and the authority that the devices trust" "Say --keep-data to leave them, or --yes. backup.sh keeps a copy."; fi
if [ -n "$keep" ] && [ -n "$k3s" ]; then die "k3s holds the data: --keep-data and --with-k3s do not go together"; fi
if [ -z "$dry" ] && ! reachable; then die "the cluster does not answer"; fi
gone() { run k delete --ignore-not-found --wait=true --timeout=180s "$@"; }

step "1 webhooks: nobody is asked any more about what is deleted"
gone mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings -l app.kubernetes.io/part-of=wasmbed

if [ -z "$keep" ]; then
  step "2 objects: while the functions are there that finish them"
  for kind in applications webhooks webhooksources devices gateways revisions modules; do
    gone "$kind.wasmbed.io" --all --all-namespaces || say "some $kind hold on to something; their finalizers are taken off"
    for o in $(ask get "$kind.wasmbed.io" -A -o 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}' 2>/dev/null || true); do
      run k -n "${o%%/*}" patch "$kind.wasmbed.io" "${o##*/}" --type merge -p '{"metadata":{"finalizers":null}}'
    done
  done
else
  step "2 objects stay"
fi

step "3 what runs"
gone -n "$system" triggers.eventing.knative.dev,brokers.eventing.knative.dev,eventtypes.eventing.knative.dev --all
gone -n "$system" apiserversources.sources.knative.dev,pingsources.sources.knative.dev --all
gone -n "$system" services.serving.knative.dev --all
gone -n "$system" deployments,statefulsets,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,services,configmaps -l app.kubernetes.io/part-of=wasmbed
gone -n knative-eventing networkpolicies -l app.kubernetes.io/part-of=wasmbed
gone namespace wasmbed-provisioner

step "4 accounts, roles, Secrets"
for r in $(ask get clusterrolebindings,clusterroles -o name 2>/dev/null | grep '/wasmbed-' || true); do gone "$r"; done
for r in $(ask get rolebindings -A -o 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}' 2>/dev/null | grep '/wasmbed-' || true); do
  gone -n "${r%%/*}" rolebinding "${r##*/}"
done
if [ -n "$keep" ]; then
  say "the devices' authority stays: Secrets wasmbed-ca and wasmbed-revoked-* in $system"
  gone -n "$system" secret wasmbed-gateway-tls wasmbed-admission-tls
  for s in $(ask -n "$system" get secrets -o name 2>/dev/null | grep '/wasmbed-redis-' || true); do gone -n "$system" "$s"; done
  gone -n "$system" persistentvolumeclaims --all
  gone -n "$system" serviceaccounts,roles,rolebindings --all
else
  gone namespace "$system"
  step "5 CRDs"
  gone crd -l app.kubernetes.io/part-of=wasmbed
fi

if [ -n "$knative" ]; then
  step "6 Knative"
  for part in mt-channel-broker:$EVENTING_VERSION in-memory-channel:$EVENTING_VERSION eventing-core:$EVENTING_VERSION eventing-crds:$EVENTING_VERSION \
    kourier:$KOURIER_VERSION serving-core:$SERVING_VERSION serving-crds:$SERVING_VERSION; do
    f=$(fetch "${part%%:*}-${part##*:}.yaml")
    gone -f "$f"
  done
fi
if [ -n "$k3s" ]; then
  step "7 k3s"
  run systemctl disable --now k3s
  run rm -f /etc/systemd/system/k3s.service /usr/local/bin/k3s
  run systemctl daemon-reload
  run rm -rf /etc/rancher/k3s /var/lib/rancher/k3s
  say "Pods that still run end with a reboot (k3s leaves them to their shims)."
fi
step "Wasmbed is removed"
