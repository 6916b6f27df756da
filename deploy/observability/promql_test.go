package observability

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// selector is a metric in an expression, with what its labels are matched with.
type selector struct {
	name     string
	matchers []matcher
}

type matcher struct{ label, op, value string }

// query is what an expression speaks of.
type query struct {
	selectors []selector
	by        []string // labels of by, without, on, ignoring and group_…
}

var groupings = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}

var operators = []string{"and", "or", "unless", "bool", "offset", "atan2"}

// aggregations may have their grouping between name and arguments; other functions have arguments only.
var aggregations = []string{"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "group", "stddev", "stdvar", "count_values"}

// tokens splits PromQL. Strings keep their quotes.
func tokens(s string) ([]string, error) {
	word := func(c byte) bool {
		return c == '_' || c == ':' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	var out []string
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\n' || c == '\t':
			i++
		case c == '#':
			for i < len(s) && s[i] != '\n' {
				i++
			}
		case c == '"' || c == '\'':
			j := i + 1
			for j < len(s) && s[j] != c {
				if s[j] == '\\' {
					j++
				}
				j++
			}
			if j >= len(s) {
				return nil, fmt.Errorf("a string does not end: %s", s[i:])
			}
			out, i = append(out, s[i:j+1]), j+1
		case c >= '0' && c <= '9': // a number or a duration
			j := i
			for j < len(s) && (word(s[j]) && s[j] != ':' || s[j] == '.') {
				j++
			}
			out, i = append(out, s[i:j]), j
		case word(c) && (c != ':' || i == 0):
			j := i
			for j < len(s) && word(s[j]) {
				j++
			}
			out, i = append(out, s[i:j]), j
		case strings.IndexByte("=!<>", c) >= 0 && i+1 < len(s) && (s[i+1] == '=' || s[i+1] == '~'):
			out, i = append(out, s[i:i+2]), i+2
		case strings.IndexByte("(){}[],+-*/%^=<>@:", c) >= 0:
			out, i = append(out, s[i:i+1]), i+1
		default:
			return nil, fmt.Errorf("%q is not PromQL", s[i:])
		}
	}
	return out, nil
}

// parse finds the metrics and labels of an expression. It is no grammar: what is no PromQL may pass.
func parse(expr string) (query, error) {
	var q query
	all, err := tokens(expr)
	if err != nil {
		return q, err
	}
	at := func(i int) string {
		if i < len(all) {
			return all[i]
		}
		return ""
	}
	depth := 0
	for i := 0; i < len(all); i++ {
		t := all[i]
		switch {
		case t == "(":
			depth++
		case t == ")":
			if depth--; depth < 0 {
				return q, fmt.Errorf("a ) too many")
			}
		case t == "[":
			for i++; at(i) != "]"; i++ {
				if i >= len(all) {
					return q, fmt.Errorf("a range does not end")
				}
			}
		case t == "{":
			return q, fmt.Errorf("a selector without a metric")
		case !isName(t):
		case slices.Contains(groupings, t):
			if at(i+1) != "(" {
				if strings.HasPrefix(t, "group_") {
					continue
				}
				return q, fmt.Errorf("%s without a list of labels", t)
			}
			for i += 2; at(i) != ")"; i++ {
				switch {
				case i >= len(all):
					return q, fmt.Errorf("the labels of %s do not end", t)
				case isName(at(i)):
					q.by = append(q.by, at(i))
				case at(i) != ",":
					return q, fmt.Errorf("%s is no label of %s", at(i), t)
				}
			}
		case slices.Contains(operators, t), t == "Inf", t == "NaN":
		case at(i+1) == "(": // a function
		case slices.Contains(aggregations, t) && slices.Contains(groupings, at(i+1)):
		default:
			s := selector{name: t}
			if at(i+1) == "{" {
				for i += 2; at(i) != "}"; i++ {
					if at(i) == "," {
						continue
					}
					if i+2 >= len(all) || !isName(at(i)) || !strings.HasPrefix(at(i+2), `"`) {
						return q, fmt.Errorf("the labels of %s cannot be read", t)
					}
					s.matchers = append(s.matchers, matcher{at(i), at(i + 1), strings.Trim(at(i+2), `"`)})
					i += 2
				}
			}
			q.selectors = append(q.selectors, s)
		}
	}
	if depth != 0 {
		return q, fmt.Errorf("a ( too many")
	}
	return q, nil
}

func isName(t string) bool {
	return t != "" && (t[0] == '_' || t[0] >= 'a' && t[0] <= 'z' || t[0] >= 'A' && t[0] <= 'Z')
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ expr, want, by string }{
		{`up`, `up`, ``},
		{`sum by (a, b) (rate(x_total{r="1",s!~"2|3"}[5m:1m] offset 1h)) / on (a) group_left y > 0.5`, `x_total r="1" s!~"2|3"; y`, `a a b`},
		{`sum(rate(m[5m])) without (k)`, `m`, `k`},
		{`histogram_quantile(0.99, sum by (le) (rate(h_bucket[10m]))) > 1e3`, `h_bucket`, `le`},
		{`a:b:c and max_over_time(a:b:c[1h]) >= 10`, `a:b:c; a:b:c`, ``},
		{`absent(m{l="a)b"}) or vector(0) # or n`, `m l="a)b"`, ``},
		{`count(a == 1) unless -b * 14.4 + (c)`, `a; b; c`, ``},
	} {
		q, err := parse(c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		var got []string
		for _, s := range q.selectors {
			one := s.name
			for _, m := range s.matchers {
				one += fmt.Sprintf(" %s%s%q", m.label, m.op, m.value)
			}
			got = append(got, one)
		}
		slices.Sort(q.by)
		if g := strings.Join(got, "; "); g != c.want || strings.Join(q.by, " ") != c.by {
			t.Errorf("%s: %q by %q, want %q by %q", c.expr, g, q.by, c.want, c.by)
		}
	}
	for _, bad := range []string{`sum(a`, `a)`, `{x="1"}`, `a{x=1}`, `a[5m`, `a{x="1}`, `sum by a (b)`, `a ; b`, `sum by (a`, `a{`} {
		if q, err := parse(bad); err == nil {
			t.Errorf("%s: %+v", bad, q)
		}
	}
}
