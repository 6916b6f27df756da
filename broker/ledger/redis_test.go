package ledger

import (
	"context"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/ledger/testcluster"
)

// wipe empties Redis and begins a new era.
func (e *env) wipe() {
	e.Helper()
	testcluster.Wipe(e, e.rdb)
	var created bool
	var err error
	e.era, created, err = e.l.Era(e.ctx)
	e.must(err)
	if !created {
		e.Fatal("no new era after a wipe")
	}
}

// each calls f for every server.
func (e *env) each(f func(context.Context, *redis.Client) error) {
	e.Helper()
	if c, ok := e.rdb.(*redis.ClusterClient); ok {
		e.must(c.ForEachMaster(e.ctx, f))
		return
	}
	e.must(f(e.ctx, e.rdb.(*redis.Client)))
}

func (e *env) infos(section string) []string {
	e.Helper()
	var mu sync.Mutex
	var out []string
	e.each(func(ctx context.Context, c *redis.Client) error {
		s, err := c.Info(ctx, section).Result()
		mu.Lock()
		defer mu.Unlock()
		out = append(out, s)
		return err
	})
	return out
}

func lines(s string) []string { return strings.Split(strings.ReplaceAll(s, "\r", ""), "\n") }

// isHousekeeping: commands that clients and nodes send on their own.
func isHousekeeping(line string) bool {
	for _, p := range []string{"info", "hello", "client", "cluster", "command", "ping", "readonly", "auth", "select", "evalsha", "eval:"} {
		if strings.HasPrefix(line, "cmdstat_"+p) {
			return true
		}
	}
	return false
}

func afterCalls(line string) string {
	_, s, _ := strings.Cut(line, "calls=")
	return s
}

// keys lists all keys of all servers.
func (e *env) keys() []string {
	e.Helper()
	var mu sync.Mutex
	var out []string
	e.each(func(ctx context.Context, c *redis.Client) error {
		ks, err := c.Keys(ctx, "*").Result()
		mu.Lock()
		defer mu.Unlock()
		out = append(out, ks...)
		return err
	})
	return out
}

func flushScripts(ctx context.Context, c *redis.Client) error { return c.ScriptFlush(ctx).Err() }
