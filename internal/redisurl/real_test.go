package redisurl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/broker/ledger/testcluster"
	"wasmbed.io/wasmbed/internal/ports"
	"wasmbed.io/wasmbed/internal/testredis"
)

func open(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	c, err := Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// works writes and reads keys of many slots.
func works(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	for i := range 20 {
		k := fmt.Sprint("key", i)
		if err := c.Set(t.Context(), k, i, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Get(t.Context(), k).Int(); err != nil || n != i {
			t.Fatalf("%s: %d %v", k, n, err)
		}
	}
}

// TestUser: user and password of the URL are what Redis is told.
func TestUser(t *testing.T) {
	s := testredis.Start(t)
	admin := s.Client(t)
	for _, user := range [][]any{{"ACL", "SETUSER", "functions", "on", ">p/w@:%", "~key*", "+@all"}, {"ACL", "SETUSER", "default", "off"}} {
		if err := admin.Do(t.Context(), user...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	works(t, open(t, "redis://functions:p%2Fw%40%3A%25@"+s.Addr))
	if err := open(t, "redis://functions:other@"+s.Addr).Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("another password: %v", err)
	}
	if err := open(t, "redis://"+s.Addr).Ping(t.Context()).Err(); err == nil {
		t.Error("nobody is let in")
	}
}

// TestCluster: any spelling, and one node alone, reach all slots.
func TestCluster(t *testing.T) {
	addrs := testcluster.Start(t).Options().Addrs
	for _, u := range []string{"redis://" + strings.Join(addrs, ","), "redis://" + addrs[0] + "?cluster=true", "redis://" + addrs[0] + "?addr=" + addrs[len(addrs)-1]} {
		c := open(t, u)
		if _, ok := c.(*redis.ClusterClient); !ok {
			t.Errorf("%s is a %T", u, c)
		}
		works(t, c)
	}
}

// TestTLS: the server is verified with the authority that is named, and with no other.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	crt := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, crt, crt, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crtFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for f, b := range map[string]*pem.Block{crtFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: k}} {
		if err := os.WriteFile(f, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	testredis.Start(t, "--tls-port", port, "--tls-cert-file", crtFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", crtFile)
	at := "127.0.0.1:" + port
	works(t, open(t, "rediss://"+at+"?ca="+crtFile+"&cert="+crtFile+"&key="+keyFile))
	c, err := Open("rediss://"+at+"?cert="+crtFile+"&key="+keyFile, Retries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server of an unknown authority: %v", err)
	}
}

// TestSentinel: the client finds the master, and the next one when the Sentinel has made another.
func TestSentinel(t *testing.T) {
	master := testredis.Start(t)
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	replica := testredis.Start(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	sentinel := startSentinel(t, fmt.Sprintf("sentinel monitor fleet %s %s 1\nsentinel down-after-milliseconds fleet 2000\nsentinel failover-timeout fleet 10000\n", host, port))
	watch := redis.NewSentinelClient(&redis.Options{Addr: sentinel})
	defer watch.Close()
	follows := replica.Client(t)
	await(t, "the replica follows, and the Sentinel knows it", func() bool {
		info, err := follows.Info(t.Context(), "replication").Result()
		if err != nil || !strings.Contains(info, "master_link_status:up") {
			return false
		}
		rs, err := watch.Replicas(t.Context(), "fleet").Result()
		return err == nil && len(rs) == 1 && rs[0]["slave-repl-offset"] != "0" && !strings.Contains(rs[0]["flags"], "down")
	})
	c := open(t, "redis+sentinel://"+sentinel+"?master=fleet")
	await(t, "a write at the master is at the replica", func() bool {
		return c.Set(t.Context(), "before", "7", 0).Err() == nil && follows.Get(t.Context(), "before").Val() == "7"
	})
	master.Kill()
	await(t, "the replica is the master", func() bool { return c.Set(t.Context(), "after", "1", 0).Err() == nil })
	if v, err := c.Get(t.Context(), "before").Result(); err != nil || v != "7" {
		t.Errorf("what was replicated: %q %v", v, err)
	}
	if v, err := replica.Client(t).Get(t.Context(), "after").Result(); err != nil || v != "1" {
		t.Errorf("at the replica: %q %v", v, err)
	}
}

func startSentinel(t *testing.T, conf string) string {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is not on PATH")
	}
	dir, port := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte("port "+port+"\nbind 127.0.0.1\ndir "+dir+"\n"+conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, file, "--sentinel") // redis-sentinel is this
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return "127.0.0.1:" + port
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := ports.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
