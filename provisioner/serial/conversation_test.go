package serial

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
)

const conversations = "testdata/conversations.txt"

type conversation struct {
	name  string
	steps []string
}

func load(t testing.TB) []conversation {
	t.Helper()
	text, err := os.ReadFile(conversations)
	if err != nil {
		t.Fatal(err)
	}
	var out []conversation
	for _, line := range strings.Split(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "name: "); ok {
			out = append(out, conversation{name: name})
		} else if line != "" && line[0] != '#' {
			c := &out[len(out)-1]
			c.steps = append(c.steps, line)
		}
	}
	if len(out) < 20 {
		t.Fatalf("%d conversations", len(out))
	}
	return out
}

// TestConversations: the bridge says what the file says. firmware/tests plays the device's side of the same file.
func TestConversations(t *testing.T) {
	for _, c := range load(t) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, c) })
		})
	}
}

type stage struct {
	*testing.T
	line port
	gw   *gateway
	said int // peers already known to be closed
}

func play(t *testing.T, c conversation) {
	s := &stage{T: t, line: newPort(), gw: &gateway{serve: (*peer).collect}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Bridge(ctx, s.line, s.gw.dial, slog.New(slog.DiscardHandler)) }()
	for _, step := range c.steps {
		synctest.Wait()
		s.step(step)
		if t.Failed() {
			break
		}
	}
	synctest.Wait()
	if rest := s.line.out.take(); len(rest) > 0 {
		t.Errorf("at the end the bridge has also said %x", rest)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	synctest.Wait()
	for i, p := range s.gw.peers {
		if !p.ended() {
			t.Errorf("connection %d was left open", i)
		}
	}
}

func (s *stage) step(step string) {
	s.Helper()
	word, rest, _ := strings.Cut(step, " ")
	data := func() []byte {
		b, err := hex.DecodeString(rest)
		if err != nil {
			s.Fatalf("%s: %v", step, err)
		}
		return b
	}
	switch word {
	case "dev>", "noise<":
		s.line.in.Write(data())
	case "br>", "br?":
		if got := s.line.out.take(); !bytes.Equal(got, data()) {
			s.Errorf("%s: the bridge said %x", step, got)
		}
	case "dial":
		s.gw.plan(rest == "ok")
	case "gw>":
		go s.last().Write(data())
	case "gw<":
		if got := s.last().take(); !bytes.Equal(got, data()) {
			s.Errorf("%s: the gateway has %x", step, got)
		}
	case "gw":
		if rest == "close" {
			s.last().Close()
			s.said++
		} else if !s.gw.peers[s.said].ended() {
			s.Errorf("%s: connection %d is open", step, s.said)
		} else {
			s.said++
		}
	case "device", "open", "close", "send", "got", "state", "+", "dev?", "dev~", "noise>":
	default:
		s.Fatalf("unknown step %q", step)
	}
}

func (s *stage) last() *peer { return s.gw.peers[len(s.gw.peers)-1] }
