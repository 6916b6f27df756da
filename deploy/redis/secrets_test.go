package redis_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/redis/go-redis/v9"

	"wasmbed.io/wasmbed/internal/testredis"
)

// secrets runs secrets.sh and returns what it prints, by name.
func secrets(t *testing.T, env ...string) map[string]corev1.Secret {
	t.Helper()
	cmd := exec.Command("sh", "secrets.sh")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]corev1.Secret{}
	for _, doc := range strings.Split(string(b), "\n---\n") {
		var s corev1.Secret
		if err := yaml.UnmarshalStrict([]byte(doc), &s); err != nil {
			t.Fatal(err)
		}
		out[s.Name] = s
	}
	return out
}

// TestSecrets: a real Redis takes the file, lets each user in by its URL, and nobody else; a second run keeps the passwords.
func TestSecrets(t *testing.T) {
	probe := testredis.Start(t)
	made := secrets(t)
	admin := probe.Client(t)
	for _, line := range strings.Split(strings.TrimSpace(made["wasmbed-redis-acl"].StringData["users.acl"]), "\n") {
		args := []any{"ACL", "SETUSER"}
		for _, w := range regexp.MustCompile(`\([^)]*\)|\S+`).FindAllString(strings.TrimPrefix(line, "user "), -1) {
			args = append(args, w)
		}
		if line == "user default off" {
			continue // last, for it is who sets the others
		}
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "default", "off").Err(); err != nil {
		t.Fatal(err)
	}
	if want := len(rules(t)) - 2 + 1; len(made) != want { // no password for default and probe; the ACL itself
		t.Errorf("%d Secrets, want %d", len(made), want)
	}
	for name, s := range made {
		if name == "wasmbed-redis-acl" {
			continue
		}
		o, err := redis.ParseURL(s.StringData["url"])
		if err != nil {
			t.Fatal(err)
		}
		if o.Addr != "wasmbed-redis.wasmbed-system.svc.cluster.local:6379" {
			t.Errorf("%s is at %s", name, o.Addr)
		}
		o.Addr = probe.Addr
		c := redis.NewClient(o)
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s is not let in: %v", name, err)
		}
		c.Close()
	}
	c := redis.NewClient(&redis.Options{Addr: probe.Addr})
	defer c.Close()
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("somebody without a password is let in")
	}

	// A kubectl of a cluster that has one of them.
	bin := t.TempDir()
	have := base64.StdEncoding.EncodeToString([]byte(made["wasmbed-redis-api"].StringData["url"]))
	text := "#!/bin/sh\ncase \"$*\" in *wasmbed-redis-api*) printf %s '" + have + "' ;; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	again := secrets(t, "KUBECTL="+filepath.Join(bin, "kubectl")+" --context x", "REDIS_SCHEME=rediss", "REDIS_ADDRESS=a:1,b:2")
	password := regexp.MustCompile(`://api:([0-9a-f]{64})@`)
	if a, b := password.FindString(made["wasmbed-redis-api"].StringData["url"]), password.FindString(again["wasmbed-redis-api"].StringData["url"]); a == "" || a != b {
		t.Errorf("the password that is there is not kept: %q, %q", a, b)
	}
	if u := again["wasmbed-redis-gateway"].StringData["url"]; !strings.HasPrefix(u, "rediss://gateway:") || !strings.HasSuffix(u, "@a:1,b:2") {
		t.Errorf("URL %s", u)
	}
}
