package webui

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// session is one browser that logged in. The token stays here; the browser has the id alone.
type session struct {
	id, csrf, token, user string
	made, used            time.Time
	ctx                   context.Context // ends with the session, and with it the streams that it opened
	end                   context.CancelFunc
}

// sessions are those that live, in this process only: after a restart people log in again.
type sessions struct {
	now  func() time.Time
	mu   sync.Mutex
	byID map[string]*session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, byID: map[string]*session{}}
}

// open makes a session. When there are too many, the one that was idle longest ends.
func (s *sessions) open(token, user string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var oldest *session
	for _, x := range s.byID {
		if s.over(x, now) {
			s.drop(x)
			continue
		}
		if oldest == nil || x.used.Before(oldest.used) {
			oldest = x
		}
	}
	if len(s.byID) >= maxSessions {
		s.drop(oldest)
	}
	x := &session{id: rand.Text() + rand.Text(), csrf: rand.Text(), token: token, user: user, made: now, used: now}
	x.ctx, x.end = context.WithDeadline(context.Background(), time.Now().Add(sessionLife))
	s.byID[x.id] = x
	return x
}

// get returns a session that lives, and notes that it was used; nil when there is none.
func (s *sessions) get(id string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byID[id]
	if x == nil {
		return nil
	}
	now := s.now()
	if s.over(x, now) {
		s.drop(x)
		return nil
	}
	x.used = now
	return x
}

// close ends a session; one that is not there is no matter.
func (s *sessions) close(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byID[id]; x != nil {
		s.drop(x)
	}
}

func (s *sessions) over(x *session, now time.Time) bool {
	return now.Sub(x.used) >= sessionIdle || now.Sub(x.made) >= sessionLife
}

func (s *sessions) drop(x *session) {
	delete(s.byID, x.id)
	x.end()
}
