// Package testcluster starts a real Redis Cluster for a test.
package testcluster

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/testredis"
)

const (
	nodes = 3
	slots = 16384
)

// Start starts three masters that share the slots, and returns a client. All end with the test.
func Start(t testing.TB) *redis.ClusterClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var addrs []string
	var cs []*redis.Client
	for i := range nodes {
		bus := freePort(t)
		s := testredis.Start(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
			"--cluster-port", bus, "--cluster-node-timeout", "15000")
		c := s.Client(t)
		addrs, cs = append(addrs, s.Addr), append(cs, c)
		if err := c.ClusterAddSlotsRange(ctx, i*slots/nodes, (i+1)*slots/nodes-1).Err(); err != nil {
			t.Fatal(err)
		}
		host, port, _ := net.SplitHostPort(s.Addr)
		if err := cs[0].Do(ctx, "cluster", "meet", host, port, bus).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range cs {
		for {
			info, err := c.ClusterInfo(ctx).Result()
			if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", nodes)) {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("the Redis Cluster does not get ready: %v\n%s", err, info)
			}
		}
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { c.Close() })
	return c
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Wipe empties every node, as FLUSHALL does on one.
func Wipe(t testing.TB, rdb redis.UniversalClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var err error
	if c, ok := rdb.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(ctx, func(ctx context.Context, n *redis.Client) error { return n.FlushAll(ctx).Err() })
	} else {
		err = rdb.FlushAll(ctx).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Keys lists all keys, of every node.
func Keys(t testing.TB, rdb redis.UniversalClient) []string {
	t.Helper()
	var mu sync.Mutex
	var out []string
	read := func(ctx context.Context, c redis.Cmdable) error {
		ks, err := c.Keys(ctx, "*").Result()
		mu.Lock()
		defer mu.Unlock()
		out = append(out, ks...)
		return err
	}
	var err error
	if c, ok := rdb.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(t.Context(), func(ctx context.Context, n *redis.Client) error { return read(ctx, n) })
	} else {
		err = read(t.Context(), rdb)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// URL is where a cluster's client found its nodes, for programs that are told by a URL.
func URL(c *redis.ClusterClient) string { return "redis://" + strings.Join(c.Options().Addrs, ",") }
