# shellcheck shell=bash disable=SC2034
# What the scripts of this folder share. Versions of what is downloaded are here and nowhere else; their digests are in
# checksums.txt.
K3S_VERSION=v1.34.1+k3s1 # Knative 1.23 needs Kubernetes 1.34
SERVING_VERSION=knative-v1.23.0
KOURIER_VERSION=knative-v1.23.0
EVENTING_VERSION=knative-v1.22.2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
system=wasmbed-system
dry=
kubeconfig=
exec 3>&1 # what --dry-run prints, wherever a command's own output goes

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  shift
  for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
  exit 1
}

# run runs a command, or prints it when --dry-run was said.
run() {
  if [ -n "$dry" ]; then
    {
      printf '  +'
      if [ "$1" = k ]; then
        shift
        if [ -n "$kubeconfig" ]; then printf ' kubectl --kubeconfig %q' "$kubeconfig"; else printf ' k3s kubectl'; fi
      fi
      printf ' %q' "$@"
      printf '\n'
    } >&3
    return 0
  fi
  "$@"
}

# k is kubectl of the cluster that is meant.
k() {
  if [ -n "$kubeconfig" ]; then
    kubectl --kubeconfig "$kubeconfig" "$@"
  else
    k3s kubectl "$@"
  fi
}

# ask runs a kubectl that changes nothing. In a dry run without a cluster it finds nothing.
ask() {
  if [ -n "$dry" ] && ! reachable; then return 1; fi
  k "$@"
}

reachable() {
  if [ -n "$kubeconfig" ]; then command -v kubectl >/dev/null 2>&1; else command -v k3s >/dev/null 2>&1; fi || return 1
  k version --request-timeout=5s >/dev/null 2>&1
}

need() {
  local missing=()
  for c in "$@"; do command -v "$c" >/dev/null 2>&1 || missing+=("$c"); done
  [ ${#missing[@]} = 0 ] || die "not on PATH: ${missing[*]}" "Debian: apt-get install curl coreutils sed"
}

arch() {
  case $(uname -m) in
  x86_64) echo amd64 ;;
  aarch64) echo arm64 ;;
  *) die "there are no images for $(uname -m)" ;;
  esac
}

# downloads lists all that may be downloaded: name in checksums.txt, URL.
downloads() {
  local k3s=https://github.com/k3s-io/k3s/releases/download/${K3S_VERSION/+/%2B}
  local gh=https://github.com/knative
  cat <<EOF
k3s-$K3S_VERSION-amd64 $k3s/k3s
k3s-$K3S_VERSION-arm64 $k3s/k3s-arm64
serving-crds-$SERVING_VERSION.yaml $gh/serving/releases/download/$SERVING_VERSION/serving-crds.yaml
serving-core-$SERVING_VERSION.yaml $gh/serving/releases/download/$SERVING_VERSION/serving-core.yaml
kourier-$KOURIER_VERSION.yaml https://github.com/knative-extensions/net-kourier/releases/download/$KOURIER_VERSION/kourier.yaml
eventing-crds-$EVENTING_VERSION.yaml $gh/eventing/releases/download/$EVENTING_VERSION/eventing-crds.yaml
eventing-core-$EVENTING_VERSION.yaml $gh/eventing/releases/download/$EVENTING_VERSION/eventing-core.yaml
in-memory-channel-$EVENTING_VERSION.yaml $gh/eventing/releases/download/$EVENTING_VERSION/in-memory-channel.yaml
mt-channel-broker-$EVENTING_VERSION.yaml $gh/eventing/releases/download/$EVENTING_VERSION/mt-channel-broker.yaml
EOF
}

cache=${WASMBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wasmbed}

# fetch NAME prints the file of a download, which it makes sure of: in the cache or downloaded, and with the digest that
# checksums.txt has. Whoever has no network puts the files there under their names beforehand.
fetch() {
  local name=$1 url want got file=$cache/$1
  url=$(downloads | awk -v n="$name" '$1 == n {print $2}')
  [ -n "$url" ] || die "$name is not among the downloads"
  want=$(awk -v n="$name" '$2 == n {print $1}' "$here/checksums.txt")
  if [ -n "$dry" ]; then
    printf '  + curl -fsSL -o %q %q  # sha256 %s\n' "$file" "$url" "${want:-NOT IN checksums.txt}" >&3
    echo "$file"
    return 0
  fi
  [ -n "$want" ] || die "checksums.txt has no digest of $name" \
    "It was written without a network. On a machine that you trust run: $here/install.sh --update-checksums," \
    "compare what it writes with what the projects publish, and keep checksums.txt."
  if [ ! -s "$file" ]; then
    mkdir -p "$cache"
    say "  downloads $url" >&2
    curl -fsSL --retry 3 -o "$file.part" "$url" || die "cannot download $url" "Put the file into $cache as $name and run this again."
    mv "$file.part" "$file"
  fi
  got=$(sha256sum "$file" | cut -d' ' -f1)
  [ "$got" = "$want" ] || die "$file is not what it should be" "sha256 is     $got" "checksums.txt has $want" "Remove the file and run this again; if it stays so, somebody changed it."
  echo "$file"
}

# update_checksums downloads everything and writes the digests that it finds.
update_checksums() {
  local name url tmp
  need curl sha256sum
  tmp=$(mktemp -d)
  grep '^#' "$here/checksums.txt" >"$tmp/new"
  while read -r name url; do
    say "$url"
    curl -fsSL --retry 3 -o "$tmp/file" "$url" || die "cannot download $url"
    printf '%s  %s\n' "$(sha256sum "$tmp/file" | cut -d' ' -f1)" "$name" >>"$tmp/new"
  done < <(downloads)
  mv "$tmp/new" "$here/checksums.txt"
  rm -rf "$tmp"
  say "checksums.txt is written. Compare it with what the projects publish before you trust it."
}

# values reads a file of NAME=VALUE lines. Nothing in it is run.
values() {
  local line name
  [ -r "$1" ] || die "$1 is not there"
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in '' | '#'*) continue ;; esac
    name=${line%%=*}
    [[ $line == *=* && $name =~ ^(VERSION|IMAGE_PREFIX|GATEWAY_ADDRESS|GATEWAY_REPLICAS|API_REPLICAS|TRUST_DOMAIN|MIN_SCALE|REDIS_STORAGE|DASHBOARD_ORIGIN|OTLP_ENDPOINT)$ ]] ||
      die "$1: there is no value $name"
    [[ ${line#*=} =~ ^[A-Za-z0-9_.:/+-]*$ ]] || die "$1: $name has characters that no value needs"
    printf -v "$name" '%s' "${line#*=}"
  done <"$1"
}

# keeper is the program deploy/backup: in bin, on PATH, or run from the sources.
keeper() {
  local bin
  for bin in "$root/bin/wasmbed-backup" "$(command -v wasmbed-backup || true)"; do
    if [ -n "$bin" ] && [ -x "$bin" ]; then
      "$bin" "$@"
      return
    fi
  done
  command -v go >/dev/null 2>&1 || die "there is neither wasmbed-backup nor Go here" "Build it elsewhere: CGO_ENABLED=0 go build -o bin/wasmbed-backup ./deploy/backup"
  (cd "$root" && go build -o "$root/bin/wasmbed-backup" ./deploy/backup) && "$root/bin/wasmbed-backup" "$@"
}
