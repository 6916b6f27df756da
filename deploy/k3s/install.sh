#!/bin/bash
# Installs Wasmbed: on this machine with k3s, or on a cluster that is there. Every step says what it does, leaves alone what
# is done, and may be run again after a failure.
#
#   install.sh [options]
#     --values FILE          values (default: values.env beside this)
#     --image-archive PATH   archive of an image, or a folder of them (deploy/images/build); may be repeated.
#                            Default: they are built here, which needs Go
#     --kubeconfig FILE      a cluster that is there, in place of k3s; images come from IMAGE_PREFIX
#     --without-knative      Knative is there already, or somebody else's to install
#     --dry-run              prints every command that would change something, and runs none
#     --update-checksums     downloads everything and writes checksums.txt; installs nothing
set -euo pipefail
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

file=$here/values.env archives=() knative=1
while [ $# -gt 0 ]; do
  case $1 in
  --values) file=${2:?--values needs a file} && shift ;;
  --image-archive) archives+=("${2:?--image-archive needs a file or folder}") && shift ;;
  --kubeconfig) kubeconfig=${2:?--kubeconfig needs a file} && shift ;;
  --without-knative) knative= ;;
  --dry-run) dry=1 ;;
  --update-checksums) update_checksums && exit 0 ;;
  -h | --help) sed -n '2,/^set /{/^set /!p}' "$0" | sed 's/^# \{0,1\}//' && exit 0 ;;
  *) die "unknown argument $1" "install.sh --help lists them" ;;
  esac
  shift
done

VERSION='' IMAGE_PREFIX='' GATEWAY_ADDRESS='' GATEWAY_REPLICAS=2 API_REPLICAS=2 TRUST_DOMAIN=wasmbed.local MIN_SCALE=0 REDIS_STORAGE=4Gi
DASHBOARD_ORIGIN='' OTLP_ENDPOINT=''
values "$file"
images=(functions gateway webui admission)
[ -n "$VERSION" ] || VERSION=$(git -C "$root" describe --tags --always --dirty 2>/dev/null || cat "$root/VERSION" 2>/dev/null) ||
  die "VERSION is not set, and there is no git to ask" "Set it in $file to the tag of the images."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step "1 what is needed"
need sha256sum sed awk od
if [ -z "$kubeconfig" ]; then
  if [ "$(id -u)" != 0 ] && [ -z "$dry" ]; then die "k3s is installed by root" "Run it with sudo, or give --kubeconfig for a cluster that is there."; fi
  say "k3s $K3S_VERSION on this machine"
else
  [ -r "$kubeconfig" ] || die "$kubeconfig is not there"
  need kubectl
  [ -n "$dry" ] || reachable || die "the cluster of $kubeconfig does not answer"
  say "the cluster of $kubeconfig"
fi

step "2 k3s"
if [ -n "$kubeconfig" ]; then
  say "not needed"
else
  if command -v k3s >/dev/null 2>&1; then
    say "is there: $(k3s --version 2>/dev/null | head -1)"
  else
    need curl
    binary=$(fetch "k3s-$K3S_VERSION-$(arch)")
    run install -m 0755 "$binary" /usr/local/bin/k3s
  fi
  if [ ! -e /etc/rancher/k3s/config.yaml ]; then
    say "writes /etc/rancher/k3s/config.yaml: no traefik (Knative brings its own ingress), Secrets encrypted at rest"
    cat >"$work/config.yaml" <<'YAML'
disable: [traefik]
secrets-encryption: true
write-kubeconfig-mode: "0600"
YAML
    run install -D -m 0600 "$work/config.yaml" /etc/rancher/k3s/config.yaml
  fi
  if [ ! -e /etc/systemd/system/k3s.service ]; then
    [ -n "$dry" ] || command -v systemctl >/dev/null 2>&1 || die "there is no systemd here to start k3s" "Start 'k3s server' yourself and run this again with --kubeconfig /etc/rancher/k3s/k3s.yaml."
    cat >"$work/k3s.service" <<'UNIT'
[Unit]
Description=k3s
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/k3s server
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s

[Install]
WantedBy=multi-user.target
UNIT
    run install -m 0644 "$work/k3s.service" /etc/systemd/system/k3s.service
    run systemctl daemon-reload
  fi
  run systemctl enable --now k3s
  if [ -z "$dry" ]; then
    for _ in $(seq 60); do
      if reachable; then break; fi
      sleep 2
    done
    reachable || die "k3s does not answer" "journalctl -u k3s -n 50 says why."
  fi
  run k wait --for=condition=Ready node --all --timeout=180s
fi

step "3 images, tag $VERSION"
if [ -n "$IMAGE_PREFIX" ]; then
  say "the cluster pulls them from $IMAGE_PREFIX"
elif [ -n "$kubeconfig" ]; then
  say "must be on the nodes as wasmbed.io/NAME:$VERSION: they were imported by you (ctr -n k8s.io images import), for IMAGE_PREFIX is empty"
else
  if [ ${#archives[@]} = 0 ]; then
    say "builds them (deploy/images/build)"
    [ -n "$dry" ] || need go
    OUT=$work/images TAG=$VERSION run "$root/deploy/images/build" "${images[@]}"
    archives=("$work/images")
  fi
  for a in "${archives[@]}"; do
    [ -n "$dry" ] || [ -e "$a" ] || die "$a is not there"
    if [ -d "$a" ]; then
      for t in "$a"/*.tar; do run k3s ctr images import "$t"; done
    else
      run k3s ctr images import "$a"
    fi
  done
  if [ -z "$dry" ]; then
    for i in "${images[@]}"; do
      k3s ctr images ls -q | grep -qx "wasmbed.io/$i:$VERSION" || die "the image wasmbed.io/$i:$VERSION is not in the archives" "They were made with another tag: set VERSION in $file to it."
    done
  fi
fi

step "4 Knative Serving $SERVING_VERSION, Eventing $EVENTING_VERSION"
apply() { run k apply --server-side --force-conflicts -f "$1" >/dev/null; }
if [ -z "$knative" ]; then
  say "is somebody else's"
  if [ -z "$dry" ]; then
    for crd in services.serving.knative.dev brokers.eventing.knative.dev apiserversources.sources.knative.dev; do
      k get crd "$crd" >/dev/null 2>&1 || die "there is no $crd in the cluster" "Install Knative Serving and Eventing, or leave --without-knative out."
    done
  fi
else
  for part in serving-crds:$SERVING_VERSION serving-core:$SERVING_VERSION kourier:$KOURIER_VERSION eventing-crds:$EVENTING_VERSION \
    eventing-core:$EVENTING_VERSION in-memory-channel:$EVENTING_VERSION mt-channel-broker:$EVENTING_VERSION; do
    f=$(fetch "${part%%:*}-${part##*:}.yaml")
    say "applies ${part%%:*}"
    apply "$f"
    case $part in *-crds:*) run k wait --for=condition=Established crd -l knative.dev/crd-install=true --timeout=120s >/dev/null ;; esac
  done
  for ns in knative-serving kourier-system knative-eventing; do run k -n "$ns" wait --for=condition=Available deployment --all --timeout=300s >/dev/null; done
  run k -n knative-serving patch configmap config-network --type merge -p '{"data":{"ingress-class":"kourier.ingress.networking.knative.dev"}}'
fi
if [ -z "$IMAGE_PREFIX" ]; then
  say "Knative does not look for wasmbed.io/ in a registry: the images are on the node"
  run k -n knative-serving patch configmap config-deployment --type merge -p '{"data":{"registries-skipping-tag-resolving":"kind.local,ko.local,dev.local,wasmbed.io"}}'
fi

step "5 CRDs, namespace, accounts, roles"
run k apply --server-side -k "$root/config/crd" >/dev/null
run k wait --for=condition=Established crd -l app.kubernetes.io/part-of=wasmbed --timeout=60s >/dev/null
run k apply --server-side -k "$root/config/rbac" >/dev/null

step "6 Redis' users"
say "the Secrets wasmbed-redis-*: passwords that are there stay, rules are this version's"
if [ -n "$dry" ]; then
  say "  + KUBECTL=kubectl $root/deploy/redis/secrets.sh | kubectl apply --server-side -f -"
else
  rules() { k -n "$system" get secret wasmbed-redis-acl --ignore-not-found -o 'jsonpath={.data.users\.acl}'; }
  before=$(rules)
  if [ -n "$kubeconfig" ]; then cluster="kubectl --kubeconfig $kubeconfig"; else cluster="k3s kubectl"; fi
  KUBECTL=$cluster "$root/deploy/redis/secrets.sh" >"$work/redis.yaml" || die "Redis' passwords cannot be read or made"
  k apply --server-side --force-conflicts -f "$work/redis.yaml" >/dev/null
  rm -f "$work/redis.yaml"
  if [ -n "$before" ] && [ "$before" != "$(rules)" ] && k -n "$system" get statefulset/wasmbed-redis >/dev/null 2>&1; then
    say "the rules are others now: Redis starts again, from its log"
    k -n "$system" rollout restart statefulset/wasmbed-redis
  fi
fi

step "7 the platform"
address=$GATEWAY_ADDRESS
if [ -z "$address" ]; then
  node=$(ask get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}' 2>/dev/null || true)
  address=${node:-NODE}:8081
fi
mkdir "$work/overlay" "$work/first"
up=$(realpath --relative-to="$work/overlay" "$here")
{
  cat <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: ["$up"]
images:
YAML
  for i in "${images[@]}"; do say "  - {name: wasmbed.io/$i, newName: ${IMAGE_PREFIX:-wasmbed.io/}$i, newTag: \"$VERSION\"}"; done
  cat <<YAML
patches:
  - target: {group: apps, kind: Deployment, name: wasmbed-gateway}
    patch: '- {op: replace, path: /spec/replicas, value: $GATEWAY_REPLICAS}'
  - target: {kind: HorizontalPodAutoscaler, name: wasmbed-gateway}
    patch: '- {op: replace, path: /spec/minReplicas, value: $GATEWAY_REPLICAS}'
  - target: {group: apps, kind: Deployment, name: wasmbed-api}
    patch: '- {op: replace, path: /spec/replicas, value: $API_REPLICAS}'
  - target: {kind: StatefulSet, name: wasmbed-redis}
    patch: '- {op: replace, path: /spec/volumeClaimTemplates/0/spec/resources/requests/storage, value: $REDIS_STORAGE}'
  - target: {kind: ConfigMap, name: wasmbed-config}
    patch: '[{"op": "replace", "path": "/data/WASMBED_TRUST_DOMAIN", "value": "$TRUST_DOMAIN"}, {"op": "replace", "path": "/data/OTEL_EXPORTER_OTLP_ENDPOINT", "value": "$OTLP_ENDPOINT"}]'
  - target: {group: serving.knative.dev, kind: Service, name: "command|report"}
    patch: '- {op: replace, path: /spec/template/metadata/annotations/autoscaling.knative.dev~1min-scale, value: "$MIN_SCALE"}'
  - target: {group: apps, kind: Deployment, name: wasmbed-webui}
    patch: '- {op: replace, path: /spec/template/spec/containers/0/env/2, value: {name: WASMBED_ORIGIN, value: "$DASHBOARD_ORIGIN"}}'
YAML
} >"$work/overlay/kustomization.yaml"
if [ -n "$dry" ]; then sed 's/^/  | /' "$work/overlay/kustomization.yaml"; fi
run k apply --server-side --force-conflicts -k "$work/overlay" >/dev/null
say "waits until it runs"
run k -n "$system" rollout status statefulset/wasmbed-redis --timeout=300s
run k -n "$system" rollout status deployment/wasmbed-admission deployment/wasmbed-api deployment/wasmbed-webui --timeout=300s
run k -n "$system" wait --for=condition=Ready broker/default apiserversource/wasmbed --timeout=300s
run k -n "$system" wait --for=condition=Ready ksvc --all --timeout=300s

step "8 the devices' authority"
if ask -n "$system" get secret wasmbed-ca >/dev/null 2>&1; then
  say "is there"
else
  if [ -n "$(ask get devices.wasmbed.io -A -o name 2>/dev/null || true)" ]; then
    die "there are Devices, and their authority, the Secret $system/wasmbed-ca, is not" \
      "A new one would lock every device out. Bring it back (restore.sh), or delete the Devices."
  fi
  mkdir "$work/authority"
  up=$(realpath --relative-to="$work/authority" "$root/config/authority")
  cat >"$work/authority/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: ["$up"]
images: [{name: wasmbed.io/functions, newName: ${IMAGE_PREFIX:-wasmbed.io/}functions, newTag: "$VERSION"}]
YAML
  run k apply --server-side -k "$work/authority"
  run k -n "$system" wait --for=condition=Complete job/wasmbed-authority --timeout=180s
fi

step "9 the first Gateway, address $address"
if ask -n default get gateways.wasmbed.io default >/dev/null 2>&1; then
  say "is there"
  if [ -n "$GATEWAY_ADDRESS" ]; then run k -n default patch gateways.wasmbed.io default --type merge -p "{\"spec\":{\"address\":\"$address\"}}"; fi
else
  up=$(realpath --relative-to="$work/first" "$root/config/first")
  cat >"$work/first/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: ["$up"]
patches:
  - target: {kind: Gateway, name: default}
    patch: '- {op: replace, path: /spec/address, value: "$address"}'
YAML
  run k apply --server-side -k "$work/first"
fi
say "waits for the gateways: the function enroll makes their certificate, then they are ready"
run k -n "$system" rollout status deployment/wasmbed-gateway --timeout=300s

step "Wasmbed $VERSION is installed"
cat <<EOF
Devices reach it at $address (a LoadBalancer; kubectl -n $system get service wasmbed-gateway).

Somebody who administers devices, and their token for twelve hours:
    kubectl -n default create serviceaccount operator
    kubectl -n default create rolebinding operator --clusterrole=admin --serviceaccount=default:operator
    kubectl -n default create token operator --duration=12h

The dashboard, with that token, at http://127.0.0.1:3000:
    kubectl -n $system port-forward service/wasmbed-webui 3000

The first device: let unknown devices ask for ten minutes, and start one (or flash one: docs/firmware.md):
    kubectl -n $system port-forward service/wasmbed-api 3001 &
    wasmbed login --server http://127.0.0.1:3001 --token TOKEN
    wasmbed pairing open --for 10m
    kubectl -n $system get secret wasmbed-gateway-tls -o 'jsonpath={.data.ca\.crt}' | base64 -d > trust.pem
    device --help
    wasmbed enrollments

Then: kubectl apply -f config/samples/hello.yaml && kubectl wait --for=condition=Ready app/hello
EOF
