package gateway

import (
	"encoding/hex"
	"time"

	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/gateway/session"
	"wasmbed.io/wasmbed/protocol"
)

// tell reads the open commands of devices and has them told.
func (g *Gateway) tell(conns []*conn) error {
	live := make([]*conn, 0, len(conns))
	sessions := make([]ledger.Session, 0, len(conns))
	for _, c := range conns {
		c.mu.Lock()
		epoch, _, held := c.s.Lease()
		open := c.s.Open()
		boot := c.s.BootID()
		c.mu.Unlock()
		if open && held { // else the next lease asks again
			live = append(live, c)
			sessions = append(sessions, ledger.Session{Device: c.device, BootID: hex.EncodeToString(boot[:]), Epoch: epoch})
		}
	}
	if len(live) == 0 {
		return nil
	}
	began := g.now()
	ctx, cancel := g.redisContext()
	defer cancel()
	told, err := g.ledger.Take(ctx, sessions)
	if err != nil {
		return err
	}
	g.redisAnswered()
	for i, c := range live {
		calls := make([]session.Call, 0, len(told[i]))
		open := make(map[[protocol.CommandSize]byte]bool, len(told[i]))
		for _, t := range told[i] {
			id, err := hex.DecodeString(t.Command.ID)
			if err != nil || len(id) != protocol.CommandSize {
				continue
			}
			call := session.Call{
				ID: [protocol.CommandSize]byte(id), Kind: session.CallKind(t.Command.Kind), App: t.Command.App, Function: t.Command.Function,
				Topic: t.Command.Topic, Payload: t.Command.Payload, Left: t.Command.Deadline.Sub(g.now()), Lost: t.Lost,
			}
			open[call.ID] = true
			if t.Command.Trace != "" && !t.Lost {
				c.tells(t.Command, began)
			}
			calls = append(calls, call)
		}
		c.do(false, func(s *session.Session, now time.Time, o *session.Output) {
			s.DropCalls(open)
			if n := s.Tell(now, calls, o); n > 0 {
				g.metrics.calls.Add(float64(n))
				g.log.Debug("told", "device", c.device, "n", n)
			}
		})
	}
	return nil
}
