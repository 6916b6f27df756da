#!/bin/sh
# Bodies of the vectors as files, for libFuzzer: seeds.sh VECTORS CORPUS
set -e
for f in "$1"/*.txt; do
    hex=$(sed -n 's/^hex: //p' "$f")
    [ -n "$hex" ] || continue
    printf '%s' "$hex" | cut -c9- | xxd -r -p > "$2/$(basename "$f" .txt)"
done
[ -n "$(ls "$2")" ] || { echo "seeds.sh: no vectors in $1" >&2; exit 1; }
