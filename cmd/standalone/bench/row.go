package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one figure.
type row struct {
	Suite   string    `json:"suite"`
	What    string    `json:"what"`
	Figure  float64   `json:"figure"` // the median of Samples
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples,omitempty"`
	Against *against  `json:"against,omitempty"`
	Beside  string    `json:"beside,omitempty"` // what belongs to the figure
}

// against is what a figure is held against.
type against struct {
	Who    string  `json:"who"`
	Value  float64 `json:"value"`
	Less   bool    `json:"less,omitempty"` // less is better
	Aim    bool    `json:"aim"`            // an aim of this project, else a peer
	Ratio  float64 `json:"ratio"`          // above 1 is better than it
	Result string  `json:"result"`
}

// of makes a row of samples.
func of(what, unit string, samples ...float64) row {
	r := row{What: what, Unit: unit, Figure: median(samples)}
	if len(samples) > 1 {
		r.Samples = samples
	}
	return r
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// quantile of samples that are sorted.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func (r row) atLeast(v float64) row {
	r.Against = &against{Who: "aim", Value: v, Aim: true}
	return r
}

func (r row) atMost(v float64) row {
	r.Against = &against{Who: "aim", Value: v, Aim: true, Less: true}
	return r
}

func (r row) peer(who string, v float64) row {
	r.Against = &against{Who: who, Value: v}
	return r
}

// lessThan compares with a peer of which less is better.
func (r row) lessThan(who string, v float64) row {
	r.Against = &against{Who: who, Value: v, Less: true}
	return r
}

func (r row) with(format string, args ...any) row {
	r.Beside = fmt.Sprintf(format, args...)
	return r
}

// judge fills the ratio and the verdict.
func (r *row) judge() {
	a := r.Against
	if a == nil || a.Value == 0 || r.Figure == 0 {
		return
	}
	a.Ratio = r.Figure / a.Value
	if a.Less {
		a.Ratio = a.Value / r.Figure
	}
	switch {
	case a.Aim && a.Ratio >= 1:
		a.Result = "reached"
	case a.Aim:
		a.Result = "NOT reached"
	case a.Ratio >= 1:
		a.Result = "better"
	default:
		a.Result = "less"
		if a.Less {
			a.Result = "more"
		}
	}
}

// report is a whole run.
type report struct {
	Machine  machineInfo `json:"machine"`
	Started  time.Time   `json:"started"`
	Took     string      `json:"took"`
	Rows     []row       `json:"rows"`
	Failures []string    `json:"failures,omitempty"`
}

func (r *report) writeJSON(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *report) writeTable(out io.Writer) error {
	m := r.Machine
	fmt.Fprintf(out, "%s\n%s, %d cores, %s of memory, %s, Linux %s\n%s, %s; load before and after: %s, %s\n\n",
		r.Started.Format("2006-01-02 15:04"), m.CPU, m.Cores, m.Memory, m.System, m.Kernel, m.Go, m.Redis, m.LoadBefore, m.LoadAfter)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tFIGURE\tUNIT\tAIM OR PEER\tRATIO\tRESULT\tBESIDE")
	suite := ""
	for _, x := range r.Rows {
		if suite != "" && suite != x.Suite {
			fmt.Fprintln(w, "\t\t\t\t\t\t")
		}
		suite = x.Suite
		limit, ratio, result := "", "", ""
		if a := x.Against; a != nil {
			sign := "≥"
			if a.Less {
				sign = "≤"
			}
			switch {
			case a.Aim:
				limit = sign + " " + number(a.Value)
			default:
				limit = a.Who + " " + number(a.Value)
			}
			ratio, result = number(a.Ratio)+"×", a.Result
		}
		beside := x.Beside
		if len(x.Samples) > 1 {
			spread := number(slices.Min(x.Samples)) + "–" + number(slices.Max(x.Samples))
			beside = strings.TrimSuffix(spread+"; "+beside, "; ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.What, number(x.Figure), x.Unit, limit, ratio, result, beside)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "NOT MEASURED\t%s\n", f)
	}
	fmt.Fprintf(w, "\n%d figures in %s. Figures are medians; the range of the samples stands beside them. Ratios above 1 are better.\n", len(r.Rows), r.Took)
	return w.Flush()
}

// number writes three significant digits, with commas in large numbers.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + "M"
	case v >= 1000:
		s := strconv.FormatFloat(v, 'f', 0, 64)
		return s[:len(s)-3] + "," + s[len(s)-3:]
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
