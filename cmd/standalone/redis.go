package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/redisurl"
)

// redisChoice is the Redis of this platform.
type redisChoice struct {
	url  string
	said string // for people: which, and what it promises
	kind redisKind
	bin  string
}

type redisKind int

const (
	redisGiven redisKind = iota
	redisServer
	redisInProcess
)

// chooseRedis decides which Redis it will be: the one that is named, a redis-server that is started, or one
// inside this process.
// ours is false when somebody else starts it.
func chooseRedis(cfg *Config, s *state, last endpoints, ours bool) (redisChoice, error) {
	if cfg.RedisURL != "" {
		if _, err := redisurl.Parse(cfg.RedisURL); err != nil {
			return redisChoice{}, errs.New(errs.Invalid, "REDIS_URL: %w", err)
		}
		return redisChoice{kind: redisGiven, url: cfg.RedisURL, said: "the one at REDIS_URL, with the durability that it has"}, nil
	}
	lastAddr := ""
	if u, err := url.Parse(last.Redis); err == nil {
		lastAddr = u.Host
	}
	address, err := redisAddress(cfg.Listen.Redis, lastAddr, ours)
	if err != nil {
		return redisChoice{}, err
	}
	if err := os.MkdirAll(s.path("redis"), 0o700); err != nil {
		return redisChoice{}, errs.New(errs.Invalid, "state folder: %w", err)
	}
	password := s.read("redis/password")
	if password == "" {
		password = rand.Text()
		if err := s.write("redis/password", []byte(password)); err != nil {
			return redisChoice{}, err
		}
	}
	c := redisChoice{url: (&url.URL{Scheme: "redis", User: url.UserPassword("default", password), Host: address}).String()}
	if bin, err := exec.LookPath("redis-server"); err == nil {
		c.kind, c.bin = redisServer, bin
		c.said = "redis-server from PATH; what it accepted is on disk (appendfsync always)"
		return c, nil
	}
	c.kind = redisInProcess
	c.said = "IN PROCESS: there is no redis-server on PATH. It forgets everything when this program ends; the ledger is rebuilt, history and undelivered events are lost"
	return c, nil
}

func redisAddress(address, last string, ours bool) (string, error) {
	const what, variable = "Redis", "WASMBED_LISTEN_REDIS"
	if !ours {
		return reserve(what, variable, address, last)
	}
	l, err := bind(what, variable, address, last)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return withPort(address, l.Addr()), nil
}

// command is the redis-server process. Its settings go in through standard input, so that the password is
// in no list of processes.
func (c redisChoice) command(s *state) *exec.Cmd {
	u, err := url.Parse(c.url)
	if err != nil { // it is our own
		u = &url.URL{}
	}
	password, _ := u.User.Password()
	cmd := exec.Command(c.bin, "-")
	cmd.Dir = s.path("redis")
	cmd.Stdin = strings.NewReader(strings.Join([]string{
		"port " + u.Port(),
		"bind " + u.Hostname(),
		"requirepass " + password,
		"dir " + fmt.Sprintf("%q", s.path("redis")),
		"appendonly yes",
		"appendfsync always",
		"aof-load-truncated yes", // the tail of a power cut; what was acknowledged is before it
		`save ""`,
		"maxmemory-policy noeviction",
		"daemonize no",
		"loglevel notice",
		"",
	}, "\n"))
	return cmd
}

// startInProcess starts the Redis of last resort on the chosen address.
func (c redisChoice) startInProcess() (*miniredis.Miniredis, error) {
	u, err := url.Parse(c.url)
	if err != nil {
		return nil, errs.New(errs.Internal, "redis: %w", err)
	}
	m := miniredis.NewMiniRedis()
	password, _ := u.User.Password()
	m.RequireUserAuth("default", password)
	if err := m.StartAddr(u.Host); err != nil {
		return nil, errs.New(errs.Unavailable, "redis: %w", err)
	}
	return m, nil
}

// client makes a client of the chosen Redis.
func (c redisChoice) client() (redis.UniversalClient, error) { return redisClient(c.url) }

func redisClient(u string) (redis.UniversalClient, error) { return redisurl.Open(u) }

// waitRedis waits until Redis answers and has loaded its data.
func waitRedis(ctx context.Context, rdb redis.UniversalClient) error {
	for {
		err := rdb.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errs.New(errs.Unavailable, "redis does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
