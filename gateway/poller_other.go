//go:build !linux

package gateway

// poller does nothing here: every session has a goroutine that waits in its read.
type poller struct{}

func newPoller() (*poller, error) { return &poller{}, nil }

func (p *poller) add(*conn) error { return nil }
func (p *poller) remove(*conn)    {}
func (p *poller) close()          {}

func (s *socket) readNow(b []byte) (int, error) { return s.Conn.Read(b) }
