package protocol

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// frames adds streams that fail before CBOR.
func (s *sources) frames() {
	add := func(name, comment, stream string, lines ...string) {
		lines = append([]string{"expect: frame", "code: 1", "direction: d2g"}, lines...)
		s.add("frame-"+name, comment, append(lines, "hex: "+strings.ReplaceAll(stream, " ", ""))...)
	}
	add("zero-length", "a body of no bytes", "00000000")
	add("over-cap", "one byte over: refused on the header alone", "00004001", "cap: 16384")
	add("over-cap-preauth", "one byte over the cap of first contact", "00001001", "cap: 4096")
	add("over-cap-huge", "the largest length", "ffffffff")
	add("over-cap-sign", "a length that is negative as a signed number", "80000001")
	add("truncated-header", "the stream ends in the header", "000000")
	add("truncated-body", "the stream ends in the body", "00000008 a3000c0101")
	add("no-body", "the stream ends behind the header", "00000008")
	s.add("frame-at-cap", "exactly the cap", "expect: ok", "direction: d2g", "type: 53", "cap: 4096", "hex: "+hex.EncodeToString(s.frame(atCap())),
		"reencode: same", "json: "+renderJSON(atCap()))
}

// atCap is a message with a body of 4096 bytes.
func atCap() Message {
	return &MessageUp{ID: 1, App: "a", Topic: "t", Payload: []byte(strings.Repeat("p", 4096-18)), Seq: 1}
}

// cbor adds bodies that break the rules of SPEC §4.
func (s *sources) cbor() {
	s.badCBOR("indefinite-map", "bf … ff", "bf 000c 0101 0202 ff")
	s.badCBOR("indefinite-text", "7f … ff", "a4 000c 0101 0202 03 7f 6161 ff")
	s.badCBOR("indefinite-bytes", "5f … ff", "a4 000c 0101 0202 03 5f 4161 ff")
	s.badCBOR("indefinite-array", "9f … ff", "a4 000c 0101 0202 03 9f 01 ff")
	s.badCBOR("break-alone", "ff outside an indefinite item", "a4 000c 0101 0202 03 ff")
	s.badCBOR("reserved-28", "additional information 28", "a4 000c 0101 0202 03 1c")
	s.badCBOR("reserved-30-text", "additional information 30 on a text", "a4 000c 0101 0202 03 7e")
	s.badCBOR("long-int-8", "1 in two bytes", "a3 000c 01 1801 0202")
	s.badCBOR("long-int-16", "255 in three bytes", "a3 000c 01 1900ff 0202")
	s.badCBOR("long-int-32", "65535 in five bytes", "a3 000c 01 1a0000ffff 0202")
	s.badCBOR("long-int-64", "4294967295 in nine bytes", "a3 000c 01 1b00000000ffffffff 0202")
	s.badCBOR("long-type", "the type in two bytes", "a3 00 180c 0101 0202")
	s.badCBOR("long-key", "a key in two bytes", "a3 000c 1801 01 0202")
	s.badCBOR("long-map", "the map's count in two bytes", "b803 000c 0101 0202")
	s.badCBOR("long-length", "a text's length in two bytes", "a4 0003 0101 0302 04 7801 61")
	s.badCBOR("long-negative", "-1 in two bytes, in an unknown key", "a4 000c 0101 0202 03 3800")
	s.badCBOR("duplicate-key", "key 1 twice", "a4 000c 0101 0101 0202")
	s.badCBOR("duplicate-unknown-key", "an unknown key twice", "a5 000c 0101 0202 0900 0900")
	s.badCBOR("duplicate-nested-key", "inside an unknown key", "a4 000c 0101 0202 03 a2 6161 01 6161 02")
	s.badCBOR("duplicate-app", "one app twice", s.patched(reportOf(map[string]AppState{"a": {State: 2, Revision: "r"}, "b": {State: 2, Revision: "r"}}), "6162", "6161"))
	s.badCBOR("unsorted-keys", "2 before 1", "a3 000c 0202 0101")
	s.badCBOR("unsorted-type", "the type last", "a3 0101 0202 000c")
	s.badCBOR("unsorted-negative", "-2 before -1", "a5 000c 0101 0202 21 00 20 00")
	s.badCBOR("unsorted-negative-first", "negative keys come last", "a4 20 00 000c 0101 0202")
	s.badCBOR("unsorted-text", "bb before b: shorter keys come first", s.patched(configured(), "6162 6130 626262 6130", "626262 6130 6162 6130"))
	s.badCBOR("unsorted-text-alphabetic", "in an unknown key: alphabetic order is not this order", "a4 000c 0101 0202 03 a2 626161 00 6162 00")
	s.badCBOR("depth-9", "one deeper than allowed", "a4 000c 0101 0202 03"+rep("81", 8)+"01")
	s.badCBOR("depth-9-maps", "maps count, too", "a4 000c 0101 0202 03"+rep("a100", 8)+"01")
	s.badCBOR("depth-9-empty", "an empty array counts", "a4 000c 0101 0202 03"+rep("81", 7)+"80")
	s.badCBOR("depth-500", "no stack is to overflow", "a4 000c 0101 0202 03"+rep("81", 500)+"01")
	s.badCBOR("array-1025", "one element more than allowed", "a4 000c 0101 0202 03 990401"+rep("00", 1025))
	pairs := ""
	for i := range 65 {
		pairs += fmt.Sprintf("19%04x00", 256+i)
	}
	s.badCBOR("map-65", "one pair more than allowed", "a4 000c 0101 0202 03 b841"+pairs)
	s.badCBOR("array-huge", "a count that is not there", "a4 000c 0101 0202 03 9bffffffffffffffff")
	s.badCBOR("tag", "a tagged integer", "a4 000c 0101 0202 03 c101")
	s.badCBOR("tag-self-described", "the tag of self-described CBOR around the body", "d9d9f7 a3 000c 0101 0202")
	s.badCBOR("null", "f6 in an unknown key", "a4 000c 0101 0202 03 f6")
	s.badCBOR("null-for-a-field", "null does not mean absent", "a4 0003 0101 02f6 0302")
	s.badCBOR("undefined", "f7", "a4 000c 0101 0202 03 f7")
	s.badCBOR("simple-value", "simple(16)", "a4 000c 0101 0202 03 f0")
	s.badCBOR("simple-value-byte", "simple(255)", "a4 000c 0101 0202 03 f8ff")
	s.badCBOR("float-32-for-16", "1.5 in 32 bits", telemetryWith("fa3fc00000"))
	s.badCBOR("float-64-for-32", "65536 in 64 bits", telemetryWith("fb40f0000000000000"))
	s.badCBOR("float-64-for-16", "0 in 64 bits", telemetryWith("fb0000000000000000"))
	s.badCBOR("float-32-subnormal-for-16", "2^-24 in 32 bits", telemetryWith("fa33800000"))
	s.badCBOR("float-infinity-32", "infinity in 32 bits", "a4 000c 0101 0202 03 fa7f800000")
	s.badCBOR("nan-payload", "a NaN that is not f97e00", "a4 000c 0101 0202 03 f97e01")
	s.badCBOR("nan-32", "a NaN in 32 bits", "a4 000c 0101 0202 03 fa7fc00000")
	s.badCBOR("utf8-stray", "a continuation byte alone", "a4 0003 0101 0302 04 6180")
	s.badCBOR("utf8-cut", "a character cut off", "a4 0003 0101 0302 04 62 61c3")
	s.badCBOR("utf8-overlong", "c0 af", "a4 0003 0101 0302 04 62 c0af")
	s.badCBOR("utf8-surrogate", "ed a0 80", "a4 0003 0101 0302 04 63 eda080")
	s.badCBOR("utf8-above", "f4 90 80 80 is above U+10FFFF", "a4 0003 0101 0302 04 64 f4908080")
	s.badCBOR("utf8-unknown-key", "in an unknown key", "a4 000c 0101 0202 03 61ff")
	s.badCBOR("truncated-int", "an integer cut off", "a3 000c 0101 02 19ff")
	s.badCBOR("truncated-text", "a text cut off", "a4 0003 0101 0302 04 63 6161")
	s.badCBOR("truncated-map", "a pair is missing", "a3 000c 0101")
	s.badCBOR("truncated-value", "a key without its value", "a3 000c 0101 02")
	s.badCBOR("truncated-float", "a float cut off", telemetryWith("fb4035"))
	s.badCBOR("text-length-huge", "a length of 2^64-1", "a4 0003 0101 0302 04 7bffffffffffffffff")
	s.badCBOR("bytes-length-4g", "a length of 2^32-1", "a3 0007 0101 02 5affffffff")
	s.badCBOR("trailing-byte", "a byte behind the map", "a3 000c 0101 0202 00")
	s.badCBOR("trailing-map", "a second map", "a3 000c 0101 0202 a0")
	s.badCBOR("before-schema", "a wrong type at key 1, a tag behind it: the CBOR layer is asked first", "a4 000c 0160 0202 03 c101")
	s.badCBOR("before-unknown-type", "an unknown type, and null behind it", "a3 0018f0 0101 02f6")
}

func configured() Message {
	c := deployMin()
	c.Manifest.Config = map[string]string{"b": "0", "bb": "0"}
	return c
}

// telemetryWith is a telemetry body of one record with the value in hex.
func telemetryWith(value string) string {
	return "a4 00 1828 0101 0201 03 81 84 00 6161 616e " + value
}

// schema adds well-formed bodies with a field that is wrong, missing or too large.
func (s *sources) schema() {
	s.badSchema("not-a-map", "an array", "83 0c 01 02")
	s.badSchema("an-integer", "nothing but 0", "00")
	s.badSchema("empty-map", "no type", "a0")
	s.badSchema("no-type", "key 0 is missing", "a2 0101 0202")
	s.badSchema("type-text", "the type is a text", "a3 00 61 61 0101 0202")
	s.badSchema("type-zero", "0 is no type", "a3 0000 0101 0202")
	s.badSchema("text-key", "keys are integers", "a4 000c 0101 0202 6161 01")
	s.badSchema("text-key-nested", "in capabilities as well", s.patched(helloMin(), "07a6", "07a7", "0601", "0601 6161 01"))
	s.badSchema("bytes-key", "keys are integers", "a4 000c 0101 0202 4161 01")
	s.bad(LayerSchema, CodeUnknownType, "schema-unknown-type", "a type of a later version", "a2 0018c8 0101")
	s.bad(LayerSchema, CodeUnknownType, "schema-unknown-type-300", "above a byte", "a2 0019012c 0101")
	s.bad(LayerSchema, CodeUnknownType, "schema-reserved-type", "attest-request is reserved", "a3 00183c 0101 025820"+hex.EncodeToString(nonce))
	s.badSchema("no-id", "key 1 is missing", "a2 000c 0202")
	s.badSchema("id-zero", "ids begin at 1", "a3 000c 0100 0202")
	s.badSchema("id-negative", "-1", "a3 000c 0120 0202")
	s.badSchema("refers-zero", "ids begin at 1", "a3 000c 0101 0200")
	s.badSchema("no-refers", "an ack of nothing", "a2 000c 0101")
	for _, f := range []struct{ name, comment, old, new string }{
		{"text-for-bytes", "the boot id as a text", "0448 0102030405060708", "0468 0102030405060708"},
		{"bytes-for-text", "the board as bytes", "0564486f7374", "0544486f7374"},
		{"array-for-bytes", "the boot id as an array of integers", "0448 0102030405060708", "0488 0102030405060708"},
		{"array-for-versions", "versions are one byte string", "024101", "028101"},
		{"boolean-for-integer", "the id is true", "0101 0241", "01f5 0241"},
		{"float-for-integer", "the id is 1.0", "0101 0241", "01f93c00 0241"},
		{"integer-for-map", "capabilities are 1", "07a6 011a00100000 021a00010000 03190400 04190800 0502 0601", "0701"},
		{"map-for-text", "the board is a map", "0564486f7374", "05a0"},
		{"boot-id-short", "7 bytes", "0448 0102030405060708", "0447 02030405060708"},
		{"boot-id-long", "9 bytes", "0448 0102030405060708", "0449 000102030405060708"},
		{"boot-id-empty", "a required byte string is empty", "0448 0102030405060708", "0440"},
		{"versions-empty", "none", "024101", "0240"},
		{"versions-unsorted", "2 before 1", "024101", "02420201"},
		{"versions-twice", "1 and 1", "024101", "02420101"},
		{"board-empty", "a required text is empty", "0564486f7374", "0560"},
		{"board-long", "33 bytes", "0564486f7374", "057821" + rep("48", 33)},
		{"chunk-small", "63", "03190400", "03183f"},
		{"chunk-large", "32769", "03190400", "03198001"},
		{"cap-small", "2047", "04190800", "041907ff"},
		{"cap-large", "65537", "04190800", "041a00010001"},
		{"apps-none", "0", "0502", "0500"},
		{"apps-17", "over the limit", "0502", "0511"},
		{"u8-overflow", "an ABI of 256", "0601", "06190100"},
		{"u32-overflow", "module memory of 2^32", "011a00100000", "011b0000000100000000"},
	} {
		s.badSchema(f.name, f.comment, s.patched(helloMin(), f.old, f.new))
	}
	s.badSchema("hello-no-boot-id", "a required key is missing", grow(-1, s.patched(helloMin(), "0448 0102030405060708", "")))
	s.badSchema("hello-no-capabilities", "a required map is missing", grow(-1, s.patched(helloMin(), "07a6 011a00100000 021a00010000 03190400 04190800 0502 0601", "")))
	s.badSchema("hello-no-abi", "a required key of a nested map is missing", s.patched(helloMin(), "07a6", "07a5", "0601", ""))
	s.badSchema("integer-for-boolean", "enrolled is 1", s.patched(welcomeFirst(), "0bf4", "0b01"))
	s.badSchema("text-257", "a text over 256 bytes", "a4 0003 0101 0302 04 790101"+rep("61", 257))
	s.badSchema("heartbeat-99", "an interval under 100 ms", s.patched(welcomeFirst(), "06192710", "061863"))
	s.badSchema("digest-31", "a digest of 31 bytes", s.patched(&ChunkRequest{ID: 1, Digest: digest, Length: 1}, "0258201011", "02581f11"))
	s.badSchema("chunk-length-zero", "nothing asked", s.patched(&ChunkRequest{ID: 1, Digest: digest, Length: 77}, "04184d", "0400"))
	for _, n := range []struct{ name, comment, app string }{
		{"upper", "Hello", "Hello"}, {"dash-first", "-a", "-a"}, {"dash-last", "a-", "a-"}, {"dots", "..", ".."},
		{"slash", "a/b", "a/b"}, {"space", "a b", "a b"}, {"underscore", "a_b", "a_b"}, {"umlaut", "ä", "ä"}, {"nul", "a NUL", "a\x00b"},
		{"64", "64 bytes", strings.Repeat("a", 64)}, {"empty", "no bytes", ""},
	} {
		text := hex.EncodeToString(appendText(nil, n.app))
		s.badSchema("name-"+n.name, "an app called "+strings.ReplaceAll(n.comment, "\x00", ""), "a5 00 1834 0101 02 "+text+" 03 6174 04 4100")
	}
	s.badSchema("topic-empty", "a required text is empty", "a4 00 1834 0101 02 6161 03 60")
	s.badSchema("record-of-3", "a record without a value", "a4 00 1828 0101 0201 03 81 83 00 6161 616e")
	s.badSchema("record-of-5", "a record with something more", "a4 00 1828 0101 0201 03 81 85 00 6161 616e f93c00 00")
	s.badSchema("records-none", "an empty batch", "a4 00 1828 0101 0201 03 80")
	s.badSchema("records-257", "one more than allowed", "a4 00 1828 0101 0201 03 990101"+rep("8400 6161 616e f93c00", 257))
	s.badSchema("value-integer", "a value is a float, also when it is whole", telemetryWith("182a"))
	s.badSchema("value-nan", "values are finite", telemetryWith("f97e00"))
	s.badSchema("value-infinity", "values are finite", telemetryWith("f97c00"))
	s.badSchema("value-minus-infinity", "values are finite", telemetryWith("f9fc00"))
	s.badSchema("record-app-empty", "telemetry is an application's", "a4 00 1828 0101 0201 03 81 84 00 60 616e f93c00")
	s.badSchema("metric-empty", "a value without a name", "a4 00 1828 0101 0201 03 81 84 00 6161 60 f93c00")
	s.badSchema("seq-zero", "numbers begin at 1", "a4 00 1828 0101 0200 03 81 84 00 6161 616e f93c00")
	s.badSchema("level-0", "no such level", "a4 00 1829 0101 0201 03 81 84 00 6161 00 6161")
	s.badSchema("level-5", "no such level", "a4 00 1829 0101 0201 03 81 84 00 6161 05 6161")
	s.badSchema("log-257", "a line over 256 bytes", "a4 00 1829 0101 0201 03 81 84 00 6161 01 790101"+rep("61", 257))
}

// schemaRules adds bodies whose fields are right one by one but not together.
func (s *sources) schemaRules() {
	digestHex := "075820" + hex.EncodeToString(digest)
	s.badSchema("deploy-no-digest", "Deploy needs the whole", grow(-1, s.patched(deployMin(), digestHex, "")))
	s.badSchema("deploy-no-app", "Deploy needs an app", grow(-1, s.patched(deployMin(), "04 65 68656c6c6f", "")))
	s.badSchema("deploy-no-attempt", "Deploy needs an attempt", grow(-1, s.patched(deployMin(), "0601", "")))
	s.badSchema("deploy-size-zero", "Deploy needs a size", s.patched(deployMin(), "08191092", "0800"))
	s.badSchema("deploy-no-manifest", "Deploy needs a manifest", grow(-1, s.patched(deployMin(), "09"+hex.EncodeToString(s.manifestBytes()), "")))
	s.badSchema("stop-half-a-whole", "a digest without a manifest", grow(-1, s.patched(deployMin(), "0301", "0304", "09"+hex.EncodeToString(s.manifestBytes()), "")))
	s.badSchema("start-no-app", "Start needs an app", "a4 0014 0101 0248c0c1c2c3c4c5c6c7 0303")
	s.badSchema("verb-zero", "0 is no verb", "a4 0014 0101 0248c0c1c2c3c4c5c6c7 0300")
	s.badSchema("manifest-no-timeout", "a call needs an end", s.patched(deployMin(), "a6 0101 02191000 031903e8", "a5 0101 02191000"))
	s.badSchema("manifest-max-traps-zero", "a loop of no traps", s.patched(deployMin(), "0903 0a", "0900 0a"))
	s.badSchema("manifest-timers-9", "one more than allowed", s.patched(deployMin(), "a6 0101", "a7 0101", "031903e8", "031903e8 0789"+rep("a2 0100 0201", 9)))
	s.badSchema("manifest-timer-zero", "a period of 0", s.patched(deployMin(), "a6 0101", "a7 0101", "031903e8", "031903e8 0781 a2 0100 0200"))
	entries := ""
	for i := range 33 {
		entries += fmt.Sprintf("62%02x%02x60", 'a'+i/26, 'a'+i%26)
	}
	s.badSchema("manifest-config-33", "one more than allowed", s.patched(deployMin(), "a6 0101", "a7 0101", "031903e8", "031903e8 06b821"+entries))
	s.badSchema("manifest-config-integer", "values are texts", s.patched(deployMin(), "a6 0101", "a7 0101", "031903e8", "031903e8 06a1 6161 01"))
	s.badSchema("manifest-permissions-17", "one more than allowed", s.patched(deployMin(), "a6 0101", "a7 0101", "031903e8", "031903e8 0591"+rep("6161", 17)))
	s.badSchema("accepted-no-chain", "a chain goes with Accepted", "a4 0006 0101 0202 0301")
	s.badSchema("pending-chain", "and only with Accepted", "a5 0006 0101 0202 0302 0481 4130")
	s.badSchema("rejected-no-reason", "Rejected says why", "a4 0006 0101 0202 0303")
	s.badSchema("enroll-status-4", "no such status", "a4 0006 0101 0202 0304")
	s.badSchema("chain-of-5", "one more than allowed", "a5 0006 0101 0202 0301 0485"+rep("4130", 5))
	s.badSchema("certificate-empty", "a certificate of no bytes", "a5 0006 0101 0202 0301 0481 40")
	s.badSchema("welcome-no-nonce", "first contact needs one", grow(-1, s.patched(welcomeFirst(), "0a5820"+hex.EncodeToString(nonce), "")))
	s.badSchema("welcome-no-epoch", "an enrolled device's session has an epoch", grow(-1, s.patched(welcomeEnrolled(), "0707", "")))
	s.badSchema("welcome-no-era", "and an era", grow(-1, s.patched(welcomeEnrolled(), "0848"+hex.EncodeToString(era), "")))
	s.badSchema("refused-no-reason", "Refused says why", "a4 0015 0101 0348c0c1c2c3c4c5c6c7 0403")
	s.badSchema("command-status-5", "no such status", "a4 0015 0101 0348c0c1c2c3c4c5c6c7 0405")
	s.badSchema("invoke-result-accepted", "an invoke is answered with its end", "a5 001833 0101 0202 0348c0c1c2c3c4c5c6c7 0401")
	chunk := &Chunk{ID: 1, Refers: 1, Digest: digest, Offset: 4096, Data: []byte{0xaa, 0xbb}, Total: 4098}
	s.badSchema("chunk-empty", "no data", s.patched(chunk, "0542aabb", "0540"))
	s.badSchema("chunk-beyond-total", "ends behind the module", s.patched(chunk, "06191002", "06191001"))
	gone := reportOf(nil)
	s.badSchema("removed-in-full", "a full report has no removed", grow(1, s.patched(gone, "03f5 08", "03f5 0781 6161 08")))
	s.badSchema("removed-17", "one more than allowed", grow(1, s.patched(gone, "03f5 08", "03f4 0791"+rep("6161", 17)+"08")))
	many := ""
	for i := range 17 {
		many += fmt.Sprintf("61%02x a2 0102 0261 72", 'a'+i)
	}
	s.badSchema("apps-in-report-17", "one more than allowed", grow(1, s.patched(gone, "03f5 08", "03f5 06b1"+many+"08")))
	state := func(name, comment, fields string) {
		s.badSchema("state-"+name, comment, grow(1, s.patched(gone, "03f5 08", "03f5 06a1 6161"+fields+"08")))
	}
	state("0", "no such state", "a2 0100 026172")
	state("9", "no such state", "a2 0109 026172")
	state("no-revision", "which?", "a1 0102")
	state("running-nothing", "Running needs what runs", "a2 0104 026172")
	state("running-another", "that is RolledBack", "a3 0104 026172 046173")
	state("confirmed-failed", "only Running is confirmed", "a4 0107 026172 05f5 0601")
	state("failed-no-reason", "Failed says why", "a2 0107 026172")
	state("failed-running", "Failed runs nothing", "a4 0107 026172 046173 0601")
	state("rolled-back-nothing", "RolledBack runs something", "a3 0108 026172 0601")
	state("rolled-back-no-reason", "RolledBack says why", "a3 0108 026172 046173")
	state("stopped-running", "Stopped runs nothing", "a3 0106 026172 046172")
}

func (s *sources) manifestBytes() []byte {
	c := coder{enc: true}
	manifestMin().walk(&c)
	return c.b
}
