package hook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func TestBothWays(t *testing.T) {
	key, err := ParseKey([]byte(secret + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	k := Keys{Sign: [][]byte{[]byte("another key that is long enough"), key}}
	now := time.Now()
	for _, body := range []string{"", "{}", strings.Repeat("x", 1<<20), "a.b.c", "\x00\xff"} {
		h := http.Header{}
		k.Set(h, "msg_1", now, []byte(body))
		if err := theirs.Verify([]byte(body), h); err != nil {
			t.Errorf("%d bytes: %v", len(body), err)
		}
		if id, err := k.Verify(h, []byte(body), now, time.Minute); err != nil || id != "msg_1" {
			t.Errorf("%d bytes: %v", len(body), err)
		}
		if _, err := k.Verify(h, []byte(body+"x"), now, time.Minute); err == nil {
			t.Error("another body is right")
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("msg_1", "1700000000", "v1,AAAA", "{}")
	f.Add("", "", "", "")
	f.Add("a", "-9223372036854775808", "v1,", "x")
	k := Keys{Sign: [][]byte{[]byte("another key that is long enough")}}
	f.Fuzz(func(t *testing.T, id, ts, sig, body string) {
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {ts}, "Webhook-Signature": {sig}, "X-Hub-Signature-256": {sig}}
		if _, err := k.Verify(h, []byte(body), time.Unix(1700000000, 0), time.Minute); err == nil {
			t.Fatal("a forged signature is right")
		}
		if _, err := k.VerifyGitHub(h, []byte(body)); err == nil {
			t.Fatal("a forged signature is right")
		}
	})
}

func TestLookupAndFill(t *testing.T) {
	r := Request{Header: http.Header{"X-A": {"v"}, "Authorization": {"Bearer x"}}}
	d := json.NewDecoder(strings.NewReader(`{"a":{"b":[{"c":"x"},2,true,null],"d e":"sp"},"n":12345678901234567890,"":1}`))
	d.UseNumber()
	if err := d.Decode(&r.Body); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"$.a.b[0].c": `"x"`, "$.a.b[1]": `2`, "$['a'].b[2]": `true`, `$.a["d e"]`: `"sp"`, "$.n": "12345678901234567890", "header.X-A": `"v"`, "header.x-a": `"v"`, "plain": `"plain"`, "": `""`,
		"{$.a.b[0].c}-{$.a.b[1]}{x}": `"x-2{x}"`, "{header.X-A}": `"v"`, "{": `"{"`, "a}b": `"a}b"`,
	} {
		v, err := r.fill(text)
		got, _ := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%q: %s %v, want %s", text, got, err, want)
		}
	}
	for _, bad := range []string{"$.x", "$.a.b[9]", "$.a.b[-1]", "$a", "$.", "$..a", "$[", "$[]", "$['a", "$.a.b[3]", "{$.a}", "{$.x}", "{$.a", "header.Authorization", "header.No", "$.a.b[0][0]", "$" + strings.Repeat(".a", 17), "$[99999999999999999999]"} {
		if v, err := r.fill(bad); err == nil {
			t.Errorf("%q gives %v", bad, v)
		}
	}
}

func FuzzFill(f *testing.F) {
	for _, s := range []string{"$.a[0]['b']", "{$.a}{header.X}", "$[\"", "{$", "$['']x"} {
		f.Add(s, `{"a":[{"b":1}]}`)
	}
	f.Fuzz(func(t *testing.T, text, body string) {
		var r Request
		_ = json.Unmarshal([]byte(body), &r.Body)
		_, _ = r.Fill(map[string]string{"x": text})
		_, _ = r.Fits(&v1alpha1.HookRule{When: []v1alpha1.HookCondition{{Path: text, In: []string{"*"}}}})
	})
}

func TestRedact(t *testing.T) {
	in := `{"a":"b","token":"t1","deep":[{"Client_Secret":"t2","x":"password=t3&y=1"}],"csr":"t4","tokens":3,"url":"https://x/?api_key=t5&z"}`
	out := string(Redact([]byte(in), 1000))
	for _, s := range []string{"t1", "t2", "t3", "t4", "t5"} {
		if strings.Contains(out, s) {
			t.Errorf("%s is shown: %s", s, out)
		}
	}
	if !json.Valid([]byte(out)) || !strings.Contains(out, `"a":"b"`) || !strings.Contains(out, "y=1") {
		t.Error(out)
	}
	if s := string(Redact([]byte("Authorization: Basic t1; x\nBearer t2 whsec_t3"), 1000)); strings.Contains(s, "t2") || strings.Contains(s, "t3") {
		t.Error(s)
	}
	if s := Redact(bytes.Repeat([]byte("ü"), 100), 11); string(s) != strings.Repeat("ü", 5) {
		t.Errorf("%q", s)
	}
}
