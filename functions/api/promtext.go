package api

import (
	"bufio"
	"bytes"
	"math"
	"strconv"
	"strings"

	"wasmbed.io/wasmbed/internal/errs"
)

// Limits of what one part's metrics are read with.
const (
	maxMetrics    = 4 << 20 // bytes
	maxSamples    = 50_000
	maxSampleLine = 64 << 10
)

// metric is one sample of Prometheus' text format.
type metric struct {
	labels map[string]string // nil: none
	value  float64
}

// readMetrics reads Prometheus' text exposition format 0.0.4 by metric name, as far as the summary needs it: comments,
// types and timestamps are passed over. Errors: Invalid, TooLarge.
func readMetrics(text []byte) (map[string][]metric, error) {
	if len(text) > maxMetrics {
		return nil, errs.New(errs.TooLarge, "%d bytes of metrics, more than %d", len(text), maxMetrics)
	}
	out, n := map[string][]metric{}, 0
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(make([]byte, 0, 4096), maxSampleLine)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, m, ok := readSample(line)
		if !ok {
			return nil, errs.New(errs.Invalid, "not a line of metrics: %.80q", line)
		}
		if n++; n > maxSamples {
			return nil, errs.New(errs.TooLarge, "more than %d samples", maxSamples)
		}
		out[name] = append(out[name], m)
	}
	if err := sc.Err(); err != nil {
		return nil, errs.New(errs.Invalid, "metrics: %w", err)
	}
	return out, nil
}

// readSample reads `name{label="value",…} number [timestamp]`.
func readSample(line string) (name string, m metric, ok bool) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return "", m, false
	}
	name, rest := line[:end], line[end:]
	if rest[0] == '{' {
		if m.labels, rest, ok = readLabels(rest[1:]); !ok {
			return "", m, false
		}
	}
	words := strings.Fields(rest)
	if len(words) < 1 || len(words) > 2 {
		return "", m, false
	}
	var err error
	if m.value, err = strconv.ParseFloat(words[0], 64); err != nil {
		return "", m, false
	}
	return name, m, true
}

// readLabels reads to the closing brace.
func readLabels(s string) (labels map[string]string, rest string, ok bool) {
	labels = map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t,")
		if strings.HasPrefix(s, "}") {
			return labels, s[1:], true
		}
		key, after, found := strings.Cut(s, "=")
		after = strings.TrimLeft(after, " \t")
		if !found || !strings.HasPrefix(after, `"`) {
			return nil, "", false
		}
		value, i := strings.Builder{}, 1
		for ; i < len(after) && after[i] != '"'; i++ {
			if after[i] == '\\' && i+1 < len(after) {
				i++
				if after[i] == 'n' {
					value.WriteByte('\n')
					continue
				}
			}
			value.WriteByte(after[i])
		}
		if i >= len(after) {
			return nil, "", false
		}
		labels[strings.TrimSpace(key)] = value.String()
		s = after[i+1:]
	}
}

// bucket is one of a histogram, cumulative.
type bucket struct{ le, count float64 }

// histogram reads the buckets of name, those with label=value where a label is given, summed.
func histogram(ms map[string][]metric, name, label, value string) []bucket {
	var out []bucket
next:
	for _, m := range ms[name+"_bucket"] {
		if label != "" && m.labels[label] != value {
			continue
		}
		le, err := strconv.ParseFloat(m.labels["le"], 64) // "+Inf" is a number to it
		if err != nil || math.IsNaN(le) {
			continue
		}
		for i := range out {
			if out[i].le == le {
				out[i].count += m.value
				continue next
			}
		}
		i := 0
		for i < len(out) && out[i].le < le {
			i++
		}
		out = append(out[:i], append([]bucket{{le, m.value}}, out[i:]...)...)
	}
	return out
}

// since is what came to a histogram since before; one that began anew counts from its beginning.
func since(now, before []bucket) []bucket {
	out := make([]bucket, len(now))
	copy(out, now)
	if len(before) != len(now) || len(now) == 0 || before[len(before)-1].count > now[len(now)-1].count {
		return out
	}
	for i := range out {
		if out[i].le != before[i].le {
			return append(out[:0], now...)
		}
		out[i].count -= before[i].count
	}
	return out
}

// quantile estimates a quantile (0 to 1) as Prometheus does: linear inside a bucket; ok is false for an empty histogram.
// What lies above the last finite bucket is that bucket's end.
func quantile(q float64, bs []bucket) (float64, bool) {
	if len(bs) == 0 || !(bs[len(bs)-1].count > 0) {
		return 0, false
	}
	rank := q * bs[len(bs)-1].count
	low, below := 0.0, 0.0
	for _, b := range bs {
		if b.count >= rank {
			if math.IsInf(b.le, 1) {
				return low, true
			}
			if b.count == below {
				return b.le, true
			}
			return low + (b.le-low)*(rank-below)/(b.count-below), true
		}
		if !math.IsInf(b.le, 1) {
			low = b.le
		}
		below = b.count
	}
	return low, true
}

// total sums the samples of a name that have the label's value; label "": all.
func total(ms map[string][]metric, name, label, value string) (sum float64, there bool) {
	for _, m := range ms[name] {
		if label == "" || m.labels[label] == value {
			if !math.IsNaN(m.value) && !math.IsInf(m.value, 0) {
				sum, there = sum+m.value, true
			}
		}
	}
	return sum, there
}
