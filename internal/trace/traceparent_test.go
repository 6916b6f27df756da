package trace

import (
	"strings"
	"testing"
	"time"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestParse(t *testing.T) {
	for s, ok := range map[string]bool{
		parent:                   true,
		strings.ToUpper(parent):  false,
		parent[:54]:              false,
		parent + "0":             false,
		parent + "-x":            false, // version 00 has no more parts
		"01" + parent[2:] + "-x": true,  // a later one may
		"01" + parent[2:] + "x":  false,
		"ff" + parent[2:]:        false,
		parent[:53] + "00":       true,
		parent[:53] + "ff":       true,
		"":                       false,
		"00-" + strings.Repeat("0", 32) + parent[35:]:       false,
		parent[:36] + strings.Repeat("0", 16) + parent[52:]: false,
		"00_" + parent[3:]: false,
	} {
		c, got := Parse(s)
		if got != ok {
			t.Errorf("%q: %v", s, got)
		}
		if ok && (c.TraceID().String() != s[3:35] || c.SpanID().String() != s[36:52]) {
			t.Errorf("%q became %v", s, c)
		}
	}
	if c, _ := Parse(parent[:53] + "00"); c.IsSampled() {
		t.Error("sampled")
	}
	if n := testing.AllocsPerRun(100, func() { Parse(parent) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if c, ok := Parse(Fresh()); !ok || c.IsSampled() || Fresh() == Fresh() {
		t.Error("a fresh traceparent is not right")
	}
	if !IsID(ID(parent)) || ID("x") != "" || IsID(strings.Repeat("0", 32)) {
		t.Error("ids")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(parent)
	f.Add("01" + parent[2:] + "-more")
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := Parse(s)
		if !ok {
			return
		}
		if !c.IsValid() || Format(c)[3:52] != s[3:52] {
			t.Errorf("%q became %q", s, Format(c))
		}
	})
}

func TestDeriveIsDeterministic(t *testing.T) {
	a, b := derive("source", "id"), derive("source", "id")
	if a.TraceID() != b.TraceID() || a.SpanID() != b.SpanID() || !a.IsSampled() || !a.IsValid() {
		t.Error(a, b)
	}
	if c := derive("sourc", "eid"); c.TraceID() == a.TraceID() {
		t.Error("other words, same trace")
	}
}

func TestAnnotation(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	v := Annotate(parent, 3, now)
	for _, x := range []struct {
		value string
		gen   int64
		after time.Duration
		want  string
	}{
		{v, 4, 0, parent},
		{v, 3, time.Minute, parent}, // labels changed, not the spec
		{v, 5, 0, ""},               // somebody else changed it since
		{v, 2, 0, ""},
		{v, 4, annotated + time.Second, ""},
		{v, 4, -annotated - time.Second, ""},
		{parent, 4, 0, ""},
		{v + ";1", 4, 0, ""},
		{strings.Repeat("x", 1000), 4, 0, ""},
		{"00-x;3;1800000000", 4, 0, ""},
		{Annotate(Fresh(), 3, now), 4, 0, ""}, // nobody records it
	} {
		if got := Annotated(x.value, x.gen, now.Add(x.after)); got != x.want {
			t.Errorf("%q at generation %d, %v later: %q", x.value, x.gen, x.after, got)
		}
	}
}

func FuzzAnnotated(f *testing.F) {
	f.Add(Annotate(parent, 1, time.Unix(1000, 0)), int64(2))
	f.Fuzz(func(t *testing.T, v string, gen int64) {
		if tp := Annotated(v, gen, time.Unix(1000, 0)); tp != "" && ID(tp) == "" {
			t.Errorf("%q gave %q", v, tp)
		}
	})
}
