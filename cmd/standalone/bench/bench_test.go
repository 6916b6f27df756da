package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestParseBench(t *testing.T) {
	r, err := parseBench(strings.NewReader(`goos: linux
BenchmarkHandshake/tls-2         	       1	4782334434 ns/op	         3.276 redis-µs/session	      2374 sessions/core-s
BenchmarkHandshake/tls-2         	       1	4782334434 ns/op	         3.276 redis-µs/session	      2474 sessions/core-s
BenchmarkTelemetry/records=32-2  	       1	 109668416 ns/op	    104918 frames/core-s
PASS
`), 2)
	if err != nil {
		t.Fatal(err)
	}
	if x, err := r.row("Handshake/tls", "sessions/core-s", "handshakes", "/core-s"); err != nil || x.Figure != 2424 || len(x.Samples) != 2 {
		t.Errorf("%+v, %v", x, err)
	}
	if v := r.med("Telemetry/records=32", "frames/core-s"); v != 104918 {
		t.Errorf("%v", v)
	}
	if _, err := r.row("Idle", "KiB/session", "", ""); err == nil {
		t.Error("a figure that nobody measured")
	}
	if _, err := parseBench(strings.NewReader("BenchmarkX 1 abc ns/op"), 1); err == nil {
		t.Error("a number that is none")
	}
}

func TestJudge(t *testing.T) {
	for _, x := range []struct {
		row   row
		ratio float64
		want  string
	}{
		{of("", "", 20).atLeast(10), 2, "reached"},
		{of("", "", 5).atLeast(10), 0.5, "NOT reached"},
		{of("", "", 5).atMost(10), 2, "reached"},
		{of("", "", 20).atMost(10), 0.5, "NOT reached"},
		{of("", "", 20).peer("p", 10), 2, "better"},
		{of("", "", 20).lessThan("p", 10), 0.5, "more"},
	} {
		x.row.judge()
		if a := x.row.Against; a.Ratio != x.ratio || a.Result != x.want {
			t.Errorf("%+v: want %v %s", a, x.ratio, x.want)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	r := report{Rows: []row{of("a figure", "s", 1, 3, 2).atMost(8), of("another", "/core-s", 1234567)}, Failures: []string{"x: y"}}
	for i := range r.Rows {
		r.Rows[i].judge()
	}
	if err := r.writeTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a figure", "2.00", "≤ 8.00", "4.00×", "reached", "1.00–3.00", "1.23M", "NOT MEASURED"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parse([]string{"--only", "gateway, start", "--quick"}, nil)
	if err != nil || len(o.only) != 2 || o.samples != 1 || o.bin != o.root+"/bin" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{{"--only", "nothing"}, {"extra"}} {
		if _, err := parse(bad, nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestTree(t *testing.T) {
	all, err := tree(os.Getpid())
	if err != nil {
		t.Skip("needs /proc: ", err)
	}
	if u := all[0]; u.pid != os.Getpid() || u.rss == 0 || u.pss == 0 || u.peak == 0 || u.name == "" {
		t.Errorf("%+v", u)
	}
}
