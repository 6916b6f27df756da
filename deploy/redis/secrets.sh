#!/bin/sh
# Prints the Secrets of Wasmbed's Redis as YAML: wasmbed-redis-acl (users.acl, with the digests of the passwords) and, for
# each user, wasmbed-redis-<user> (url, with the password in it).
#
#   KUBECTL=kubectl deploy/redis/secrets.sh | kubectl apply -f -
#
# KUBECTL         how the cluster is asked for the passwords that it has: they stay, and only the rules are new (Redis reads
#                 them when it starts). Without it all passwords are new, and whoever runs already must be started again
# REDIS_ADDRESS   host:port in the URLs, several with commas for a Redis Cluster (default: the Service of config/redis)
# REDIS_QUERY     what follows it, like ?ca=FILE
# REDIS_SCHEME    redis (default), rediss for TLS, redis+sentinel
set -eu
cd "$(dirname "$0")"
acl=${WASMBED_ACL:-../../config/redis/users.acl}
address=${REDIS_ADDRESS:-wasmbed-redis.wasmbed-system.svc.cluster.local:6379}
[ -r "$acl" ] || { echo "secrets.sh: $acl is not there" >&2; exit 1; }

# known USER prints the password that the cluster has, or nothing.
known() {
  [ -n "${KUBECTL:-}" ] || return 0
  # KUBECTL is a command with its arguments: split it.
  # shellcheck disable=SC2086
  $KUBECTL -n wasmbed-system get secret "wasmbed-redis-$1" --ignore-not-found -o 'jsonpath={.data.url}' | base64 -d |
    sed -n "s|^[a-z+]*://$1:\([0-9a-f]\{64\}\)@.*|\1|p"
}

rules=$(cat "$acl")
for user in $(sed -n 's/^user [a-z]* on @\([a-z]*@\).*/\1/p' "$acl" | tr -d @); do
  password=$(known "$user")
  [ -n "$password" ] || password=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  [ "${#password}" = 64 ] || { echo "secrets.sh: no random bytes" >&2; exit 1; }
  digest=$(printf %s "$password" | sha256sum | cut -d' ' -f1)
  rules=$(printf '%s\n' "$rules" | sed "s/@$user@/#$digest/")
  cat <<YAML
apiVersion: v1
kind: Secret
metadata:
  name: wasmbed-redis-$user
  namespace: wasmbed-system
  labels: {app.kubernetes.io/part-of: wasmbed}
stringData:
  url: "${REDIS_SCHEME:-redis}://$user:$password@$address${REDIS_QUERY:-}"
---
YAML
done
cat <<YAML
apiVersion: v1
kind: Secret
metadata:
  name: wasmbed-redis-acl
  namespace: wasmbed-system
  labels: {app.kubernetes.io/part-of: wasmbed}
stringData:
  users.acl: |
$(printf '%s\n' "$rules" | sed '/^#/d;/^$/d;s/^/    /')
YAML
