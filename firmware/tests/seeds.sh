#!/bin/sh
# Bodies of vectors as files, for libFuzzer: seeds.sh VECTORS CORPUS [HEX DIGITS BEFORE THE BODY, 8]
set -e
for f in "$1"/*.txt; do
    sed -n 's/^hex: //p' "$f" | cut -c$((${3:-8} + 1))- | while read -r hex; do
        n=$((${n:-0} + 1))
        printf '%s' "$hex" | xxd -r -p > "$2/$(basename "$f" .txt)-$n"
    done
done
[ -n "$(ls "$2")" ] || { echo "seeds.sh: no vectors in $1" >&2; exit 1; }
