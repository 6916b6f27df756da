package trace

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	otel "go.opentelemetry.io/otel/trace"
)

// Lengths of the parts of a traceparent (W3C Trace Context, level 2).
const (
	traceDigits = 32
	spanDigits  = 16
	parentSize  = 2 + 1 + traceDigits + 1 + spanDigits + 1 + 2
)

// Parse reads a traceparent. ok is false for anything that the W3C's recommendation refuses. Of later versions than
// 00 it reads what version 00 has. It allocates nothing.
func Parse(s string) (c otel.SpanContext, ok bool) {
	if len(s) < parentSize || len(s) > 128 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return c, false
	}
	var version, flags [1]byte
	var cfg otel.SpanContextConfig
	if !unhex(version[:], s[:2]) || version[0] == 0xff || !unhex(cfg.TraceID[:], s[3:35]) || !unhex(cfg.SpanID[:], s[36:52]) || !unhex(flags[:], s[53:55]) {
		return c, false
	}
	if len(s) > parentSize && (version[0] == 0 || s[parentSize] != '-') {
		return c, false
	}
	if !cfg.TraceID.IsValid() || !cfg.SpanID.IsValid() {
		return c, false
	}
	cfg.TraceFlags, cfg.Remote = otel.TraceFlags(flags[0])&otel.FlagsSampled, true
	return otel.NewSpanContext(cfg), true
}

// unhex reads lower-case hex digits.
func unhex(into []byte, s string) bool {
	for i := range into {
		hi, lo := digit(s[2*i]), digit(s[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		into[i] = hi<<4 | lo
	}
	return true
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// Format writes a traceparent; "" for a context that is none.
func Format(c otel.SpanContext) string {
	if !c.IsValid() {
		return ""
	}
	t, s := c.TraceID(), c.SpanID()
	b := make([]byte, 0, parentSize)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, t[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, s[:])
	if c.IsSampled() {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// Sampled is a traceparent with the flag that it is recorded; "" for what is none.
func Sampled(traceparent string) string {
	c, ok := Parse(traceparent)
	if !ok {
		return ""
	}
	return Format(c.WithTraceFlags(otel.FlagsSampled))
}

// ID returns the trace id of a traceparent, 32 hex digits, or "".
func ID(traceparent string) string {
	if _, ok := Parse(traceparent); !ok {
		return ""
	}
	return traceparent[3:35]
}

// IsID reports whether s is a trace id.
func IsID(s string) bool {
	var id otel.TraceID
	return len(s) == traceDigits && unhex(id[:], s) && id.IsValid()
}

// Fresh makes a traceparent of a new trace that nothing is recorded of.
func Fresh() string {
	var b [24]byte
	rand.Read(b[:]) // never fails (crypto/rand since Go 1.24)
	return Format(otel.NewSpanContext(otel.SpanContextConfig{TraceID: otel.TraceID(b[:16]), SpanID: otel.SpanID(b[16:])}))
}

// derive makes the context of a trace out of what it is about: equal parts, equal trace, so that what is said again
// is in the same trace.
func derive(parts ...string) otel.SpanContext {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	sum := h.Sum(nil)
	return otel.NewSpanContext(otel.SpanContextConfig{
		TraceID: otel.TraceID(sum[:16]), SpanID: otel.SpanID(sum[16:24]), TraceFlags: otel.FlagsSampled, Remote: true,
	})
}

// Annotation is the key under which an object carries the trace of the request that last changed it.
const Annotation = "wasmbed.io/traceparent"

// Annotate makes the value of Annotation: the traceparent, the object's generation before the change, and the time.
func Annotate(traceparent string, generation int64, now time.Time) string {
	return traceparent + ";" + strconv.FormatInt(generation, 10) + ";" + strconv.FormatInt(now.Unix(), 10)
}

// Annotated reads the value of Annotation on an object of a generation. "" when it is not valid, too old, or when the
// object was changed since by somebody who did not say.
func Annotated(value string, generation int64, now time.Time) string {
	if len(value) > maxAnnotation {
		return ""
	}
	p := strings.Split(value, ";")
	if len(p) != 3 {
		return ""
	}
	before, err := strconv.ParseInt(p[1], 10, 64)
	at, err2 := strconv.ParseInt(p[2], 10, 64)
	c, ok := Parse(p[0])
	if err != nil || err2 != nil || !ok || !c.IsSampled() || generation < before || generation-before > 1 {
		return ""
	}
	if age := now.Sub(time.Unix(at, 0)); age > annotated || age < -annotated {
		return ""
	}
	return p[0]
}
