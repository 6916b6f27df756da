package redisurl

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"redis://h", "single [h:6379] db0 user: pass:"},
		{"redis://", "single [localhost:6379] db0 user: pass:"},
		{"redis://:pw@h:1/3", "single [h:1] db3 user: pass:pw"},
		{"redis://functions:p%40s%2Fs%3A@h:1", "single [h:1] db0 user:functions pass:p@s/s:"},
		{"redis://u:a/b@h:1", "single [h:1] db0 user:u pass:a/b"},
		{"redis://[::1]:7", "single [[::1]:7] db0 user: pass:"},
		{"redis://[::1]", "single [[::1]:6379] db0 user: pass:"},
		{"rediss://u:p@h", "single [h:6379] db0 user:u pass:p tls"},
		{"redis://u:p@a:1,b:2,c:3", "cluster [a:1 b:2 c:3] db0 user:u pass:p"},
		{"redis://u:p@a,b/0", "cluster [a:6379 b:6379] db0 user:u pass:p"},
		{"redis://a:1?cluster=true", "cluster [a:1] db0 user: pass:"},
		{"redis://a:1?addr=b:2&addr=c:3", "cluster [a:1 b:2 c:3] db0 user: pass:"},
		{"redis://u:p@a:1,redis://b:2,redis://u:p@c:3", "cluster [a:1 b:2 c:3] db0 user:u pass:p"},
		{"redis://a:1,redis://b:2, redis://c:3", "cluster [a:1 b:2 c:3] db0 user: pass:"},
		{"redis+sentinel://u:p@a,b:2/4?master=m&sentinel_password=s", "sentinel m/s [a:26379 b:2] db4 user:u pass:p"},
		{"rediss+sentinel://a?master=m", "sentinel m/ [a:26379] db0 user: pass: tls"},
	} {
		o, err := Parse(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		kind := "single"
		switch {
		case o.MasterName != "":
			kind = "sentinel " + o.MasterName + "/" + o.SentinelPassword
		case o.IsClusterMode:
			kind = "cluster"
		}
		got := fmt.Sprintf("%s %v db%d user:%s pass:%s", kind, o.Addrs, o.DB, o.Username, o.Password)
		if o.TLSConfig != nil {
			got += " tls"
			if o.TLSConfig.ServerName != "" || o.TLSConfig.InsecureSkipVerify {
				t.Errorf("%s: %+v", c.url, o.TLSConfig)
			}
		}
		if got != c.want {
			t.Errorf("%s is %q, want %q", c.url, got, c.want)
		}
	}
	o, err := Parse("redis://a:1,b:2?dial_timeout=3s&pool_size=7&max_retries=1")
	if err != nil || o.DialTimeout != 3*time.Second || o.PoolSize != 7 || o.MaxRetries != 1 {
		t.Errorf("%+v %v", o, err)
	}
}

func TestRefused(t *testing.T) {
	for _, u := range []string{
		"", "h:6379", "http://h", "redis://h:0", "redis://h:99999", "redis://h:x", "redis://a:1,", "redis://a:1/2/3", "redis://a:1,b:2/1",
		"redis://h?what=1", "redis://h?cluster=maybe", "redis+sentinel://h", "redis://h?master=m", "redis+sentinel://h?master=m&cluster=true",
		"redis://u:%zz@h", "redis://u:a#b@h", "redis://a b:1", "redis://h?ca=x", "rediss://h?ca=/nowhere", "rediss://h?cert=a",
		"unix:///tmp/x", "redis://" + strings.Repeat("a,", 100), "redis://" + strings.Repeat("a", maxURL),
	} {
		if _, err := Parse(strings.Replace(u, "://", "://secret:hunter2@", 1)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", u, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is told: %v", err)
		}
	}
}

func TestRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"redis://h:1/2":            "redis://h:1/2",
		"redis://u:secret@a:1,b:2": "redis://u:xxxxx@a:1,b:2",
		"rediss://:secret@a?ca=x":  "rediss://:xxxxx@a?ca=x",
		"redis+sentinel://u:secret@a:1?master=m&sentinel_password=secret": "redis+sentinel://u:xxxxx@a:1?master=m&sentinel_password=xxxxx",
		"secret": "(a URL that cannot be read)",
	} {
		if got := Redacted(in); got != want {
			t.Errorf("%s is shown as %s", in, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"redis://u:hunter2@a:1,b:2/0?pool_size=3", "rediss+sentinel://u:hunter2@h?master=m", "redis://a,redis://b", "redis://[::1]:2", "redis://%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := Parse(s)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if len(o.Addrs) == 0 {
			t.Fatalf("%q has no address", s)
		}
		if len(o.Password) > 5 && !strings.Contains(strings.Join(o.Addrs, ","), o.Password) && strings.Count(s, o.Password) == 1 && strings.Contains(Redacted(s), o.Password) {
			t.Fatalf("%q is shown as %q", s, Redacted(s))
		}
		for _, a := range o.Addrs {
			if _, _, err := net.SplitHostPort(a); err != nil {
				t.Fatalf("%q: address %q", s, a)
			}
		}
	})
}
