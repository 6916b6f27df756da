package ledger

import (
	"context"
	"sort"
)

// Applications returns the names of the applications of a namespace that want something, in order, at most n.
// Errors: errs.Unavailable.
func (l *Ledger) Applications(ctx context.Context, ns string, n int) ([]string, error) {
	apps, err := l.apps(ctx, ns)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var names []string
	for _, a := range apps {
		if !seen[a.Name] {
			seen[a.Name] = true
			names = append(names, a.Name)
		}
	}
	sort.Strings(names)
	return names[:min(n, len(names))], nil
}
