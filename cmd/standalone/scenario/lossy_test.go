package scenario

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// lossy stands between the broker and the functions. While it loses, the first delivery of every event to every
// function has its effect and its answer is lost, as when the process dies in between.
type lossy struct {
	mu           sync.Mutex
	losing       bool
	seen         map[string]bool
	lost, killed int
	kill         func()
}

func newLossy(t *testing.T, listen, functions string) *lossy {
	t.Helper()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{seen: map[string]bool{}}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: functions})
	to.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	to.ModifyResponse = func(r *http.Response) error {
		if l.loses(r) {
			r.Body.Close()
			panic(http.ErrAbortHandler) // the connection ends here, without an answer
		}
		return nil
	}
	srv := &http.Server{Handler: to}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return l
}

func (l *lossy) loses(r *http.Response) bool {
	h := r.Request.Header
	key := r.Request.URL.Path + "\x00" + h.Get("ce-source") + "\x00" + h.Get("ce-id")
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.losing || h.Get("ce-id") == "" || l.seen[key] {
		return false
	}
	l.seen[key] = true
	l.lost++
	if l.lost%10 == 0 {
		l.killed++
		l.kill()
	}
	return true
}

// lose begins; kill is called at every tenth loss and ends and starts the functions' process.
func (l *lossy) lose(kill func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losing, l.kill = true, kill
}

// keep ends it, and says how much was lost.
func (l *lossy) keep() (lost, killed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losing = false
	return l.lost, l.killed
}
