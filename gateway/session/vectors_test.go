package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/protocol"
)

const vectorsDir = "../../protocol/vectors"

// scenario is a vector with steps, seen by a gateway; protocol/vectors/README.md says what the keys mean.
type scenario struct {
	name, expect string
	code         protocol.Code
	steps        []step
}

type step struct {
	fromDevice bool
	frame      []byte
}

func scenarios(t testing.TB) (out []scenario) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(vectorsDir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte("\nreceiver: gateway\n")) {
			continue
		}
		var s scenario
		for _, line := range strings.Split(string(b), "\n") {
			key, value, _ := strings.Cut(line, ": ")
			switch key {
			case "name":
				s.name = value
			case "expect":
				s.expect = value
			case "code":
				n, err := strconv.Atoi(value)
				if err != nil {
					t.Fatal(err)
				}
				s.code = protocol.Code(n)
			case "step":
				dir, h, _ := strings.Cut(value, " ")
				frame, err := hex.DecodeString(h)
				if err != nil {
					t.Fatal(err)
				}
				s.steps = append(s.steps, step{dir == "d2g", frame})
			}
		}
		out = append(out, s)
	}
	if len(out) < 10 {
		t.Fatalf("only %d scenarios of a gateway in %s", len(out), vectorsDir)
	}
	return out
}

var testFeatures = protocol.FeatureTelemetry | protocol.FeatureLogs | protocol.FeatureRenew | protocol.FeatureInvoke | protocol.FeatureMessages

// enrolls reports whether the scenario's welcome enrolls, and which era and epoch it gives.
func (s scenario) welcome(t testing.TB) *protocol.Welcome {
	for _, st := range s.steps {
		if st.fromDevice {
			continue
		}
		m, err := protocol.Decode(st.frame[protocol.HeaderSize:])
		if err != nil {
			t.Fatal(err)
		}
		if w, ok := m.(*protocol.Welcome); ok {
			return w
		}
	}
	return nil
}

func TestVectors(t *testing.T) {
	for _, v := range scenarios(t) {
		t.Run(v.name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			w := v.welcome(t)
			peer := Peer{Fingerprint: strings.Repeat("0", 64)}
			set := Settings{Heartbeat: 10 * time.Second, Frame: protocol.DefaultFrame, Features: ^uint64(0)}
			if w != nil && w.Enrolled {
				peer.Enrolled, peer.Device = true, event.Device{Namespace: "plant", Name: "press-7"}
				set.Frame = int(w.Frame)
			}
			s := New(set, peer, now)
			var stream bytes.Buffer
			r := protocol.NewReader(&stream)
			for i, st := range v.steps {
				last := i == len(v.steps)-1
				if !st.fromDevice {
					if w != nil && w.Enrolled && s.Open() {
						r.SetCap(int(w.Frame))
					}
					continue
				}
				stream.Write(st.frame)
				var o Output
				closed := s.Closed()
				body, err := r.Next()
				if err != nil {
					s.Broken(err, &o)
				} else {
					s.Feed(now, body, &o)
				}
				for _, a := range o.Actions {
					if a.Kind == Claim {
						s.Claimed(now, w.Epoch, hex.EncodeToString(w.Era), &o)
						s.features = w.Features // the vectors' hello and welcome need not agree: only the wire is judged
					}
				}
				switch {
				case !last || v.expect == "ok":
					if t, _, err := protocol.PeekType(body); err == nil && t == protocol.TypeMessageUp {
						break // a feature that this gateway does not offer
					}
					if o.Refused != 0 {
						t.Fatalf("step %d refused with %s: %v", i, o.Refused, frames(t, o.Frames))
					}
				case closed: // refused silently
					if len(o.Frames) > 0 || len(o.Actions) > 0 {
						t.Fatalf("after goodbye: %v %v", frames(t, o.Frames), o.Actions)
					}
				case o.Refused != v.code:
					t.Fatalf("refused with %d, want %d (%s)", o.Refused, v.code, v.expect)
				}
			}
		})
	}
}

// frames decodes what a session said.
func frames(t testing.TB, b []byte) (out []protocol.Message) {
	t.Helper()
	r := protocol.NewReader(bytes.NewReader(b))
	r.SetCap(protocol.MaxFrame)
	for {
		body, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := protocol.Decode(body)
		if err != nil {
			t.Fatalf("the session said what nobody can read: %v", err)
		}
		out = append(out, m)
	}
}
