package protocol

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// These tests hold SPEC.md, wire.cddl and the Go types together: a field, number or word that is changed in
// one place alone fails here.

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section returns the text from a heading that begins with title to the next heading.
func section(t *testing.T, spec, title string) string {
	t.Helper()
	_, rest, ok := strings.Cut(spec, "\n"+title)
	if !ok {
		t.Fatalf("SPEC.md has no %q", title)
	}
	rest, _, _ = strings.Cut(rest, "\n#")
	return rest
}

// rows returns the cells of the tables in a text, without their head.
func rows(text string) [][]string {
	var out [][]string
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "|-") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if _, err := strconv.Atoi(cells[0]); err == nil {
			out = append(out, cells)
		}
	}
	return out
}

func tagKey(f reflect.StructField) (key int, required bool) {
	parts := strings.Split(f.Tag.Get("cbor"), ",")
	key, _ = strconv.Atoi(parts[0])
	return key, !strings.HasSuffix(f.Tag.Get("cbor"), "omitempty")
}

func TestSpecMessageTables(t *testing.T) {
	spec := readFile(t, "SPEC.md")
	for _, c := range []struct {
		title string
		of    any
	}{
		{"### 5.1 ", Hello{}}, {"### 5.2 ", Capabilities{}}, {"### 5.3 ", Welcome{}}, {"### 5.4 ", Error{}}, {"### 5.5 ", Goodbye{}},
		{"### 5.6 ", Enroll{}}, {"### 5.7 ", Evidence{}}, {"### 5.8 ", EnrollResult{}}, {"### 5.9 ", Renew{}}, {"### 5.10 ", Heartbeat{}},
		{"### 5.11 ", HeartbeatAck{}}, {"### 5.12 ", Ack{}}, {"### 5.13 ", Command{}}, {"### 5.14 ", Manifest{}}, {"### 5.15 ", CommandResult{}},
		{"### 5.16 ", ChunkRequest{}}, {"### 5.17 ", Chunk{}}, {"### 5.18 ", Report{}}, {"### 5.19 ", AppState{}}, {"### 5.21 ", Trap{}},
		{"### 5.22 ", Telemetry{}}, {"### 5.22 ", Logs{}}, {"### 5.23 ", Invoke{}}, {"### 5.24 ", InvokeResult{}}, {"### 5.25 ", MessageUp{}},
	} {
		typ := reflect.TypeOf(c.of)
		want := map[int]string{}
		for i := range typ.NumField() {
			key, required := tagKey(typ.Field(i))
			if name := jsonName(typ.Field(i).Name); name != "id" || key != 1 || typ == reflect.TypeOf(Timer{}) {
				want[key] = fmt.Sprintf("%s %v", name, required)
			}
		}
		got := map[int]string{}
		for _, r := range rows(section(t, spec, c.title)) {
			key, _ := strconv.Atoi(r[0])
			got[key] = fmt.Sprintf("%s %v", r[1], strings.Contains(r[3], "req"))
			if r[3] == "see below" {
				got[key] = r[1] + " false"
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: SPEC has %v, %v has %v", c.title, got, typ.Name(), want)
		}
	}
}

func TestSpecTypeTable(t *testing.T) {
	got := map[Type]bool{}
	for _, r := range rows(section(t, readFile(t, "SPEC.md"), "## 5. Messages")) {
		n, _ := strconv.Atoi(r[0])
		typ := Type(n)
		got[typ] = true
		if word := dashed(typ.String()); word != r[1] {
			t.Errorf("type %d is %s in SPEC, %s in Go", n, r[1], word)
		}
		if New(typ) == nil {
			if r[3] != "reserved" {
				t.Errorf("%s is not reserved in SPEC and has no struct", r[1])
			}
			continue
		}
		if d2g, g2d := r[2] != "g→d", r[2] != "d→g"; d2g != typ.FromDevice() || g2d != typ.FromGateway() {
			t.Errorf("%s goes %s in SPEC", r[1], r[2])
		}
		if (r[4] == "yes") != typ.Acknowledged() {
			t.Errorf("%s: acknowledged is %q in SPEC", r[1], r[4])
		}
		firstContact := strings.Contains(r[3], "first contact")
		enrolled := strings.Contains(r[3], "enrolled") || r[3] == "always"
		if r[3] == "always" {
			firstContact = true
		}
		if typ.FromDevice() && (PhaseFirstContact.GatewayAccepts(typ) == nil) != firstContact ||
			typ.FromDevice() && (PhaseEnrolled.GatewayAccepts(typ) == nil) != enrolled ||
			typ.FromGateway() && (PhaseFirstContact.DeviceAccepts(typ) == nil) != firstContact ||
			typ.FromGateway() && (PhaseEnrolled.DeviceAccepts(typ) == nil) != enrolled {
			t.Errorf("%s: allowed is %q in SPEC", r[1], r[3])
		}
	}
	for typ := range typeWords {
		if !got[typ] {
			t.Errorf("%v is not in SPEC", typ)
		}
	}
}

// dashed is the SPEC's way to write a type: EnrollResult → enroll-result.
func dashed(s string) string {
	return strings.ToLower(regexp.MustCompile(`(.)([A-Z])`).ReplaceAllString(s, "$1-$2"))
}

func TestSpecEnumerations(t *testing.T) {
	spec := readFile(t, "SPEC.md")
	check := func(title string, words map[int]string) {
		t.Helper()
		got := map[int]string{}
		for _, r := range rows(section(t, spec, title)) {
			n, _ := strconv.Atoi(r[0])
			got[n] = r[1]
		}
		if !reflect.DeepEqual(got, words) {
			t.Errorf("%s: SPEC has %v, Go has %v", title, got, words)
		}
	}
	check("### 6.2 ", numbers(codeWords))
	check("### 6.3 ", numbers(goodbyeWords))
	check("### 6.6 ", numbers(stateWords))
	check("### 6.7 ", numbers(reasonWords))
	for v, w := range verbWords {
		if !strings.Contains(section(t, spec, "### 6.5 "), fmt.Sprintf("%d %s", v, w)) {
			t.Errorf("verb %s is not in SPEC", w)
		}
	}
	bits := map[string]uint64{"invoke": FeatureInvoke, "messages": FeatureMessages, "telemetry": FeatureTelemetry, "logs": FeatureLogs, "renew": FeatureRenew, "attest": FeatureAttest}
	for _, r := range rows(section(t, spec, "### 6.1 ")) {
		if n, _ := strconv.Atoi(r[0]); bits[r[1]] != 1<<n {
			t.Errorf("feature %s is bit %s in SPEC", r[1], r[0])
		}
		delete(bits, r[1])
	}
	if len(bits) > 0 {
		t.Errorf("not in SPEC: %v", bits)
	}
}

func numbers[T ~uint8](words map[T]string) map[int]string {
	out := map[int]string{}
	for v, w := range words {
		out[int(v)] = w
	}
	return out
}

// TestSpecLimits demands that the numbers of SPEC §16 and §17 are those of limits.go.
func TestSpecLimits(t *testing.T) {
	spec := readFile(t, "SPEC.md")
	limits, timeouts := section(t, spec, "## 16. "), section(t, spec, "## 17. ")
	for row, values := range map[string]string{
		"| body, before enrollment (to the gateway) ": fmt.Sprint(PreAuthFrame),
		"| body, announced cap ":                      fmt.Sprintf("%d–%d; gateway's default %d", MinFrame, MaxFrame, DefaultFrame),
		"| nesting, array, map ":                      fmt.Sprintf("%d, %d, %d", MaxDepth, MaxArray, MaxMap),
		"| app name, device name ":                    fmt.Sprint(MaxName),
		"| revision name ":                            fmt.Sprint(MaxRevision),
		"| board, firmware ":                          fmt.Sprintf("%d, %d", MaxBoard, MaxFirmware),
		"| any `text`, log line ":                     fmt.Sprint(MaxText),
		"| applications ":                             fmt.Sprint(MaxApps),
		"| permissions in a manifest or on a board ":  fmt.Sprintf("%d of %d bytes", MaxPermissions, MaxPermission),
		"| config ":                                   fmt.Sprintf("%d entries, key %d, value %d", MaxConfig, MaxConfigKey, MaxConfigValue),
		"| timers ":                                   fmt.Sprint(MaxTimers),
		"| records per frame ":                        fmt.Sprint(MaxRecords),
		"| metric, topic, function, where ":           fmt.Sprintf("%d, %d, %d, %d", MaxMetric, MaxTopic, MaxFunction, MaxWhere),
		"| payload ":                                  fmt.Sprint(MaxPayload),
		"| module, chunk ":                            fmt.Sprintf("%d, %d", MaxModule, MaxChunk),
		"| CSR, certificate, chain ":                  fmt.Sprintf("%d, %d, %d", MaxCSR, MaxCertificate, MaxChain),
		"| claim, nonce, evidence signature ":         fmt.Sprintf("%d, %d, %d", MaxClaim, NonceSize, MaxSignature),
		"| unacknowledged frames of a type ":          fmt.Sprint(MaxInFlight),
		"| outstanding chunk requests ":               fmt.Sprint(MaxChunkRequests),
		"| errors sent per session ":                  fmt.Sprint(MaxErrors),
		"| remembered invoke results ":                fmt.Sprint(MaxInvokesKept),
		"| boots on trial ":                           fmt.Sprint(MaxTrialBoots),
	} {
		if !strings.Contains(limits, row+"| "+values+" |") {
			t.Errorf("SPEC §16 does not say %s| %s |", row, values)
		}
	}
	for row, value := range map[string]string{
		"| TLS handshake | both ":                          seconds(HandshakeTimeout.Seconds()),
		"| hello after TLS | gateway ":                     seconds(HelloTimeout.Seconds()),
		"| a peer that takes no bytes | both ":             seconds(WriteTimeout.Seconds()),
		"| no frame | both ":                               fmt.Sprintf("%d heartbeat intervals", MissedHeartbeats),
		"| no frame in first contact | gateway ":           seconds(FirstContactIdle.Seconds()),
		"| enroll again when Pending | device ":            fmt.Sprintf("`retryAfter`, at least %s", seconds(EnrollRetry.Seconds())),
		"| enroll again when Rejected | device ":           fmt.Sprintf("`retryAfter`, at least %s", seconds(RejectedRetry.Seconds())),
		"| renew again | device ":                          fmt.Sprintf("`retryAfter`, at least %s", seconds(RenewRetry.Seconds())),
		"| chunk after chunk-request | device ":            seconds(ChunkTimeout.Seconds()) + ", then ask again",
		"| no new byte of a module | device ":              seconds(TransferTimeout.Seconds()) + ": TransferTimeout",
		"| back-off | device ":                             fmt.Sprintf("%s to %s, §9.3", seconds(BackoffFirst.Seconds()), seconds(BackoffMax.Seconds())),
		"| goodbye until close | sender of it ":            seconds(CloseAfterGoodbye.Seconds()),
		"| reports that differ in progress only | device ": seconds(ProgressInterval.Seconds()) + " apart",
		"| first contact in all | gateway ":                fmt.Sprintf("%.0f min", FirstContactLife.Minutes()),
	} {
		if !strings.Contains(timeouts, row+"| "+value+" |") {
			t.Errorf("SPEC §17 does not say %s| %s |", row, value)
		}
	}
}

func seconds(s float64) string { return fmt.Sprintf("%.0f s", s) }

// TestCDDLKeys compares keys and their optionality of wire.cddl with the struct tags.
func TestCDDLKeys(t *testing.T) {
	cddl := regexp.MustCompile(`;.*`).ReplaceAllString(readFile(t, "wire.cddl"), "")
	nested := []any{Capabilities{}, Evidence{}, Manifest{}, Timer{}, AppState{}}
	for n := range 256 {
		if m := New(Type(n)); m != nil {
			nested = append(nested, reflect.ValueOf(m).Elem().Interface())
		}
	}
	for _, of := range nested {
		typ := reflect.TypeOf(of)
		rule := dashed(typ.Name())
		if typ == reflect.TypeOf(AppState{}) {
			rule = "app-state"
		}
		m := regexp.MustCompile(`(?ms)^` + rule + ` = \{(.*?)^?\}$`).FindStringSubmatch(cddl)
		if m == nil {
			t.Errorf("no rule %s", rule)
			continue
		}
		got := map[int]bool{}
		text := regexp.MustCompile(`\{[^{}]*\}`).ReplaceAllString(m[1], "")
		for _, k := range regexp.MustCompile(`(\? )?\b(\d+): `).FindAllStringSubmatch(text, -1) {
			key, _ := strconv.Atoi(k[2])
			got[key] = k[1] == ""
		}
		want := map[int]bool{}
		if strings.Contains(m[1], " 0: ") {
			want[0] = true
		}
		for i := range typ.NumField() {
			key, required := tagKey(typ.Field(i))
			want[key] = required
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: CDDL has %v, Go has %v", rule, got, want)
		}
	}
}

// TestEveryConstantHasAWord reads the sources, so that a new constant cannot be forgotten.
func TestEveryConstantHasAWord(t *testing.T) {
	words := map[string]map[int]string{"Type": numbers(typeWords), "Code": numbers(codeWords), "GoodbyeReason": numbers(goodbyeWords),
		"EnrollStatus": numbers(enrollWords), "Verb": numbers(verbWords), "CommandStatus": numbers(commandWords), "State": numbers(stateWords), "Reason": numbers(reasonWords)}
	found := map[string]int{}
	for _, name := range []string{"enum.go", "message.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || v.Type == nil || len(v.Values) != 1 {
				return true
			}
			kind, ok := v.Type.(*ast.Ident)
			if !ok || words[kind.Name] == nil {
				return true
			}
			found[kind.Name]++
			value, _ := strconv.Atoi(v.Values[0].(*ast.BasicLit).Value)
			if _, ok := words[kind.Name][value]; !ok {
				t.Errorf("%s has no word", v.Names[0].Name)
			}
			return true
		})
	}
	for kind, w := range words {
		if found[kind] != len(w) {
			t.Errorf("%s: %d constants, %d words", kind, found[kind], len(w))
		}
	}
}

func TestWordsParseBack(t *testing.T) {
	back(t, typeWords, ParseType)
	back(t, codeWords, ParseCode)
	back(t, goodbyeWords, ParseGoodbyeReason)
	back(t, enrollWords, ParseEnrollStatus)
	back(t, verbWords, ParseVerb)
	back(t, commandWords, ParseCommandStatus)
	back(t, stateWords, ParseState)
	back(t, reasonWords, ParseReason)
	if s := Reason(250).String(); s != "Reason250" {
		t.Error(s)
	}
}

func back[T interface {
	~uint8
	String() string
}](t *testing.T, words map[T]string, parse func(string) (T, error)) {
	t.Helper()
	for v, w := range words {
		if got, err := parse(w); err != nil || got != v || v.String() != w {
			t.Errorf("%q: %v, %v", w, got, err)
		}
	}
	if _, err := parse("nonsense"); err == nil {
		t.Errorf("nonsense is a %T", *new(T))
	}
}
