package main

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// summary is what GET metrics/summary answers, as far as it is shown.
type summary struct {
	Time    time.Time `json:"time"`
	Every   float64   `json:"every"`
	Figures []struct {
		Name  string `json:"name"`
		Title string `json:"title"`
		Unit  string `json:"unit"`
	} `json:"figures"`
	Now       map[string]float64 `json:"now"`
	Parts     []partLine         `json:"parts"`
	Functions []struct {
		Name   string   `json:"name"`
		Events float64  `json:"events"`
		Failed float64  `json:"failed"`
		Total  float64  `json:"total"`
		P50    *float64 `json:"p50,omitempty"`
		P95    *float64 `json:"p95,omitempty"`
		P99    *float64 `json:"p99,omitempty"`
	} `json:"functions"`
	Triggers []struct {
		Trigger    string   `json:"trigger"`
		Waiting    int64    `json:"waiting"`
		Parked     int64    `json:"parked"`
		Dead       int64    `json:"dead"`
		Deliveries float64  `json:"deliveries"`
		Retries    float64  `json:"retries"`
		P95        *float64 `json:"p95,omitempty"`
	} `json:"triggers"`
	Redis   map[string]any `json:"redis,omitempty"`
	History struct {
		Times  []time.Time           `json:"times"`
		Values map[string][]*float64 `json:"values"`
	} `json:"history"`
}

type partLine struct {
	Name       string  `json:"name"`
	Healthy    bool    `json:"healthy"`
	Message    string  `json:"message,omitempty"`
	SharedWith string  `json:"sharedWith,omitempty"`
	Memory     float64 `json:"memory,omitempty"`
	CPU        float64 `json:"cpu,omitempty"`
	Goroutines float64 `json:"goroutines,omitempty"`
	Uptime     float64 `json:"uptime,omitempty"`
}

func (c *cli) metricsCmd() *cobra.Command {
	var minutes int
	cmd := &cobra.Command{
		Use: "metrics", Short: "Show how the platform does: sessions, events, lines, functions, Redis, parts", Args: cobra.NoArgs,
		Long: `Show how the platform does, from its parts' own metrics: sessions, events a second, the broker's lines, how long functions
take, Redis, and what each part takes. The trend is of the last minutes, as far as the API has seen them; -o json has the
history itself.`,
		Example: "  wasmbed metrics\n  wasmbed metrics --minutes 5\n  wasmbed metrics -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s summary
			if err := c.rest.do(cmd.Context(), http.MethodGet, "metrics/summary", url.Values{"minutes": {strconv.Itoa(minutes)}}, nil, &s); err != nil {
				return err
			}
			return c.show(s, func(w *tabwriter.Writer, wide bool) { s.table(w, wide) })
		},
	}
	cmd.Flags().IntVar(&minutes, "minutes", 15, "of the trend, 1 to 60")
	return cmd
}

func (s *summary) table(w *tabwriter.Writer, wide bool) {
	row(w, "FIGURE", "NOW", "TREND", "WHAT")
	for _, f := range s.Figures {
		v, ok := s.Now[f.Name]
		if !ok {
			continue
		}
		row(w, f.Name, withUnit(v, f.Unit), trend(s.History.Values[f.Name]), f.Title)
	}
	fmt.Fprintln(w)
	row(w, "PART", "WELL", "MEMORY", "CPU", "GOROUTINES", "UP")
	for _, p := range s.Parts {
		partRow(w, p)
	}
	fmt.Fprintln(w)
	row(w, "FUNCTION", "EVENTS/S", "FAILED/S", "P50", "P95", "P99", "TOTAL")
	for _, f := range s.Functions {
		row(w, f.Name, plain(f.Events), plain(f.Failed), took(f.P50), took(f.P95), took(f.P99), plain(f.Total))
	}
	if wide {
		fmt.Fprintln(w)
		row(w, "TRIGGER", "WAITING", "PARKED", "DEAD", "DELIVERIES/S", "RETRIES/S", "P95")
		for _, t := range s.Triggers {
			row(w, t.Trigger, t.Waiting, t.Parked, t.Dead, plain(t.Deliveries), plain(t.Retries), took(t.P95))
		}
	}
}

func partRow(w *tabwriter.Writer, p partLine) {
	well := "yes"
	if !p.Healthy {
		well = "no: " + p.Message
	}
	if p.SharedWith != "" {
		row(w, p.Name, well, "in "+p.SharedWith+"'s", "", "", "")
		return
	}
	up := ""
	if p.Uptime > 0 {
		up = (time.Duration(p.Uptime) * time.Second).String()
	}
	memory, cpu, routines := "", "", ""
	if p.Memory > 0 {
		memory, cpu, routines = withUnit(p.Memory, "bytes"), plain(p.CPU), plain(p.Goroutines)
	}
	row(w, p.Name, well, memory, cpu, routines, up)
}

// withUnit writes a number for people.
func withUnit(v float64, unit string) string {
	switch unit {
	case "bytes", "bytes/s":
		n, i := v, 0
		for ; n >= 1024 && i < 4; i++ {
			n /= 1024
		}
		return fmt.Sprintf("%.3g %s", n, []string{"B", "KiB", "MiB", "GiB", "TiB"}[i]) + unit[len("bytes"):]
	case "s":
		return took(&v)
	case "":
		return plain(v)
	case "1/s":
		return plain(v) + "/s"
	}
	return plain(v) + " " + unit
}

func plain(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// took writes seconds; nil: nothing happened.
func took(v *float64) string {
	if v == nil {
		return ""
	}
	return time.Duration(*v * float64(time.Second)).Round(100 * time.Microsecond).String()
}

// trend draws a series in at most 24 characters, from its least to its greatest.
func trend(vs []*float64) string {
	const most = 24
	marks := []rune("▁▂▃▄▅▆▇█")
	step := (len(vs) + most - 1) / most
	var points []float64
	low, high := math.Inf(1), math.Inf(-1)
	for i := 0; i < len(vs); i += max(1, step) {
		sum, n := 0.0, 0.0
		for _, v := range vs[i:min(len(vs), i+step)] {
			if v != nil {
				sum, n = sum+*v, n+1
			}
		}
		if n > 0 {
			points = append(points, sum/n)
			low, high = min(low, sum/n), max(high, sum/n)
		}
	}
	out := make([]rune, len(points))
	for i, p := range points {
		at := 0
		if high > low {
			at = int((p - low) / (high - low) * float64(len(marks)-1))
		}
		out[i] = marks[at]
	}
	return string(out)
}
