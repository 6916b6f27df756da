package hook

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// secretName finds names of what nobody should read in a log.
var secretName = regexp.MustCompile(`(?i)(secret|token|passw|passphrase|authorization|credential|private|apikey|api_key|cookie|claim|csr|signature|session)`)

// inText finds such things in text that is not JSON: name=value, name: value, Bearer value.
var inText = regexp.MustCompile(`(?i)((?:secret|token|password|passwd|authorization|api[_-]?key|cookie)["']?\s*[=:]\s*["']?)[^\s"'&,;]+|(bearer\s+)\S+|(whsec_)\S+`)

const hidden = "***"

// Redact returns at most n bytes of a body, with *** for the values of whatever is named like a secret.
func Redact(body []byte, n int) []byte {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if len(body) < 1<<20 && dec.Decode(&v) == nil && !dec.More() {
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		if enc.Encode(hide(v)) == nil {
			return cut(bytes.TrimSpace(out.Bytes()), n)
		}
	}
	return cut(inText.ReplaceAll(body, []byte("${1}${2}${3}"+hidden)), n)
}

func hide(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k, w := range x {
			if secretName.MatchString(k) {
				switch w.(type) {
				case string, json.Number:
					x[k] = hidden
					continue
				}
			}
			x[k] = hide(w)
		}
	case []any:
		for i := range x {
			x[i] = hide(x[i])
		}
	case string:
		if inText.MatchString(x) {
			return inText.ReplaceAllString(x, "${1}${2}${3}"+hidden)
		}
	}
	return v
}

func cut(b []byte, n int) []byte {
	if len(b) > n {
		b = b[:n]
	}
	return []byte(strings.ToValidUTF8(string(b), ""))
}
