package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// results are the metrics of Go benchmarks: name without "Benchmark" → unit → samples.
type results map[string]map[string][]float64

// goBench runs benchmarks of a package of this module as a process of its own.
func goBench(ctx context.Context, o *options, pkg, pattern, benchtime string, samples int) (results, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", benchtime, "-count", strconv.Itoa(samples), "-timeout", "9m", pkg)
	cmd.Dir = o.root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A benchmark has processes of its own; none shall outlive it.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out, errw bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errw
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, tail(out.String()), tail(errw.String()))
	}
	r, err := parseBench(&out, runtime.GOMAXPROCS(0))
	if err == nil && len(r) == 0 {
		err = fmt.Errorf("%s measured nothing", strings.Join(cmd.Args, " "))
	}
	return r, err
}

// parseBench reads what `go test -bench` prints.
func parseBench(in io.Reader, procs int) (results, error) {
	out := results{}
	for s := bufio.NewScanner(in); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(f[1]); err != nil {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(f[0], "Benchmark"), "-"+strconv.Itoa(procs))
		if out[name] == nil {
			out[name] = map[string][]float64{}
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", s.Text(), err)
			}
			out[name][f[i+1]] = append(out[name][f[i+1]], v)
		}
	}
	return out, nil
}

var errNoMetric = errors.New("no such metric")

// row makes a row of one metric.
func (r results) row(benchmark, metric, what, unit string) (row, error) {
	s := r[benchmark][metric]
	if len(s) == 0 {
		return row{}, fmt.Errorf("%s of Benchmark%s: %w", metric, benchmark, errNoMetric)
	}
	return of(what, unit, s...), nil
}

// med is the median of a metric, 0 when there is none.
func (r results) med(benchmark, metric string) float64 { return median(r[benchmark][metric]) }

func tail(s string) string { return s[max(0, len(s)-2000):] }
