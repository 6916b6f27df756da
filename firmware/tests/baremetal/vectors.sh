#!/bin/sh
# The single-frame vectors as a C table: vectors.sh FOLDER > vectors.inc
set -e
for f in "$1"/*.txt; do
    awk -F': ' '
        $1 == "name" { name = $2 }
        $1 == "code" { code = $2 }
        $1 == "cap" { cap = $2 }
        $1 == "hex" { hex = $2; has = 1 }
        $1 == "reencode" { again = $2 }
        function bytes(h,  out, i) {
            out = ""
            for (i = 1; i < length(h); i += 2) out = out "0x" substr(h, i, 2) ","
            return out
        }
        END {
            if (!has) exit
            printf "{\"%s\", %d, %d, %d, %d, (const uint8_t[]){%s0}, (const uint8_t[]){%s0}},\n", name, code, cap ? cap : 65536,
                length(hex) / 2, again == "same" ? length(hex) / 2 : length(again) / 2, bytes(hex), bytes(again == "same" ? hex : again)
        }' "$f"
done
