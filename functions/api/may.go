package api

import (
	"context"
	"strings"
	"sync"
)

// maySpread is how many reviews are asked at once.
const maySpread = 8

// rightsIn says for each "verb resource" that a route of a namespace asks for whether the user has it there, so that a
// page can leave out what would be refused. It is a courtesy: every route asks again.
func (a *API) rightsIn(ctx context.Context, u User, ns string) (map[string]bool, error) {
	asked := map[string]Access{}
	for _, rt := range a.routes() {
		if rt.verb == "" || rt.verb == ownLock || !strings.Contains(rt.path, ":namespace") {
			continue
		}
		resource, sub, _ := strings.Cut(rt.resource, "/")
		asked[rt.verb+" "+rt.resource] = Access{Verb: rt.verb, Resource: resource, Subresource: sub, Namespace: ns}
	}
	var (
		mu    sync.Mutex
		all   sync.WaitGroup
		first error
		may   = make(map[string]bool, len(asked))
		slots = make(chan struct{}, maySpread)
	)
	for name, access := range asked {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			ok, err := a.Auth.Allowed(ctx, u, access)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				first = err
				return
			}
			may[name] = ok
		})
	}
	all.Wait()
	return may, first
}
