package hook

import (
	"net/url"
	"testing"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

func TestParseURL(t *testing.T) {
	for text, private := range map[string]bool{
		"https://example.org": false, "https://example.org:8443/x?y=z": false, "https://8.8.8.8/": false, "https://[2606:4700::1111]:443/": false,
		"http://10.0.0.1/x": true, "https://127.0.0.1:9/": true, "http://printer.local/": true, "https://[fd00::1]/": true, "https://1.example.org/": false,
	} {
		if u, err := ParseURL(text, private); err != nil || u.String() != text {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, c := range []struct {
		text    string
		private bool
	}{
		{"", false}, {"example.org", false}, {"ftp://example.org", true}, {"https:opaque", false}, {"https://u:p@example.org/", false}, {"https://example.org/#x", false}, {"http://example.org/", false},
		{"https://", false}, {"https://:443/", false}, {"https://example.org:/", false}, {"https://example.org:99999/", false}, {"https://example.org:0/", false}, {"https://10.0.0.1/", false},
		{"https://127.0.0.1/", false}, {"https://[::1]/", false}, {"https://[::ffff:127.0.0.1]/", false}, {"https://169.254.169.254/", true}, {"https://[fe80::1%25eth0]/", true}, {"https://0.0.0.0/", true},
		{"https://224.0.0.1/", true}, {"http://8.8.8.8/", true}, {"https://2130706433/", true}, {"https://0x7f000001/", true}, {"https://127.1/", true}, {"https://%zz/", false},
	} {
		if u, err := ParseURL(c.text, c.private); err == nil {
			t.Errorf("%q is %v", c.text, u)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("https://example.org/", false)
	f.Add("http://[::1%25a]:0x1/", true)
	f.Fuzz(func(t *testing.T, text string, private bool) {
		u, err := ParseURL(text, private)
		if err != nil {
			return
		}
		if u.Hostname() == "" || u.User != nil || u.Scheme != "https" && !private {
			t.Fatalf("%q is %+v", text, u)
		}
		if again, err := url.Parse(u.String()); err != nil || again.Hostname() != u.Hostname() {
			t.Fatalf("%q became %q: %v", text, u, err)
		}
	})
}

// FuzzCheckText: what is said to be right never fails to parse when it is filled in, and what is said to be wrong does.
func FuzzCheckText(f *testing.F) {
	for _, s := range []string{"$.a[0]['b']", "{$.a}{header.X}", "$[\"", "{$", "$['']x", "{{$.a}}", "header.Authorization"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := CheckPath(text)
		_, _, err := Request{}.Lookup(text)
		if path == nil && err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		_ = CheckText(text)
		_, _ = Request{}.Fits(&v1alpha1.HookRule{When: []v1alpha1.HookCondition{{Path: text}}})
	})
}

func TestCheckText(t *testing.T) {
	for _, good := range []string{"", "plain", "{", "}", "{x}", "$.a", "header.X-Event", "a {$.b[0]['c']} {header.Y}", "{{$.a}"} {
		if err := CheckText(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"$a", "$.", "header.", "header.Authorization", "{$.a", "{$..a}", "x {header.X-Token} y"} {
		if err := CheckText(bad); err == nil {
			t.Errorf("%q is right", bad)
		}
	}
}
