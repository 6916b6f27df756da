package protocol

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// DecodeTelemetryRaw reads a telemetry body without making the records: records is the CBOR array inside
// body (no copy) of n records, starting at sequence number seq. Everything is checked as by Decode, whose
// errors it returns. It does not allocate.
func DecodeTelemetryRaw(body []byte) (seq, id uint64, records []byte, n int, err error) {
	return decodeRaw(body, TypeTelemetry)
}

// DecodeLogsRaw is DecodeTelemetryRaw for logs.
func DecodeLogsRaw(body []byte) (seq, id uint64, records []byte, n int, err error) {
	return decodeRaw(body, TypeLogs)
}

func decodeRaw(body []byte, t Type) (seq, id uint64, records []byte, n int, err error) {
	c := coder{b: body}
	outer := c.open()
	c.typ(t)
	c.id(&id)
	number(&c, 2, &seq, required, 1, anyU64)
	if c.field(3, true, required) {
		at := c.i
		n = c.records(t)
		records = body[at:c.i]
		c.next()
	}
	c.close(outer)
	if c.err == nil && c.i != len(body) {
		c.fail(cborError("%d bytes behind the body's map", len(body)-c.i))
	}
	if c.err != nil {
		return 0, id, nil, 0, classify(body, c.err)
	}
	return seq, id, records, n, nil
}

// records checks an array of 1 to MaxRecords records.
func (c *coder) records(t Type) int {
	n := c.count(majorArray, MaxArray, "array")
	if c.err == nil && (n < 1 || n > MaxRecords) {
		c.fail(schemaError("%d records", n))
	}
	for i := 0; i < n && c.err == nil; i++ {
		var next int
		if t == TypeTelemetry {
			next = quickTelemetry(c.b, c.i)
		}
		if next > 0 {
			c.i = next
			continue
		}
		c.checkRecord(t)
	}
	return n
}

// checkRecord checks one record the thorough way, making no strings.
func (c *coder) checkRecord(t Type) {
	c.four()
	c.head(majorUint, "unsigned integer")
	least := 0
	if t == TypeTelemetry {
		least = 1
	}
	app := c.textValue("app", least, MaxName)
	c.check(c.err != nil || len(app) == 0 || validName(app), "app is not a name")
	if t == TypeTelemetry {
		c.textValue("metric", 1, MaxMetric)
		c.float()
		return
	}
	level := c.head(majorUint, "unsigned integer")
	c.check(level >= 1 && level <= 4, "no such log level")
	c.textValue("text", 0, MaxText)
}

// quickTelemetry checks the usual telemetry record at b[i]: time as a 64-bit integer, short texts, in ASCII.
// It returns what follows it, or 0 for anything else, valid or not: checkRecord decides then.
func quickTelemetry(b []byte, i int) int {
	// 84 1b <8 bytes> 6x
	if len(b)-i < 11 || b[i] != majorArray<<5|4 || b[i+1] != majorUint<<5|27 || binary.BigEndian.Uint32(b[i+2:]) == 0 {
		return 0
	}
	i += 10
	n := int(b[i]) - majorText<<5
	i++
	if n < 1 || n > 23 || len(b)-i <= n || !validName(b[i:i+n]) {
		return 0
	}
	i += n
	n = int(b[i]) - majorText<<5
	i++
	if n < 1 || n > 23 || len(b)-i <= n {
		return 0
	}
	for _, ch := range b[i : i+n] {
		if ch >= utf8.RuneSelf {
			return 0
		}
	}
	i += n
	switch b[i] {
	case initF64:
		if len(b)-i < 9 {
			return 0
		}
		v := math.Float64frombits(binary.BigEndian.Uint64(b[i+1:]))
		if !finite(v) || float64(float32(v)) == v {
			return 0
		}
		return i + 9
	case initF16, initF32:
		v, next, err := readFloat(b, i)
		if err != nil || !finite(v) {
			return 0
		}
		return next
	}
	return 0
}

// DecodeTelemetryRecords reads what DecodeTelemetryRaw gave as records.
func DecodeTelemetryRecords(raw []byte) ([]TelemetryRecord, error) {
	var out []TelemetryRecord
	err := decodeRecords(raw, func(n int) { out = make([]TelemetryRecord, n) }, func(c *coder, i int) { out[i].walk(c) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DecodeLogRecords reads what DecodeLogsRaw gave as records.
func DecodeLogRecords(raw []byte) ([]LogRecord, error) {
	var out []LogRecord
	err := decodeRecords(raw, func(n int) { out = make([]LogRecord, n) }, func(c *coder, i int) { out[i].walk(c) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

func decodeRecords(raw []byte, grow func(n int), each func(c *coder, i int)) error {
	c := &coder{b: raw}
	n := c.count(majorArray, MaxArray, "array")
	if c.err == nil && (n < 1 || n > MaxRecords) {
		c.fail(schemaError("%d records", n))
	}
	if c.err == nil {
		grow(n)
	}
	for i := 0; i < n && c.err == nil; i++ {
		each(c, i)
	}
	if c.err == nil && c.i != len(raw) {
		c.fail(cborError("%d bytes behind the records", len(raw)-c.i))
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// AppendTelemetryRecords appends the CBOR array of the records.
func AppendTelemetryRecords(dst []byte, records []TelemetryRecord) ([]byte, error) {
	c := coder{b: appendHead(dst, majorArray, uint64(len(records))), enc: true}
	c.check(len(records) >= 1 && len(records) <= MaxRecords, "too few or too many records")
	for i := range records {
		records[i].walk(&c)
	}
	if c.err != nil {
		return dst, c.err
	}
	return c.b, nil
}

// AppendLogRecords appends the CBOR array of the records.
func AppendLogRecords(dst []byte, records []LogRecord) ([]byte, error) {
	c := coder{b: appendHead(dst, majorArray, uint64(len(records))), enc: true}
	c.check(len(records) >= 1 && len(records) <= MaxRecords, "too few or too many records")
	for i := range records {
		records[i].walk(&c)
	}
	if c.err != nil {
		return dst, c.err
	}
	return c.b, nil
}
