package gateway

import (
	"context"
	"time"

	"wasmbed.io/wasmbed/gateway/session"
	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/protocol"
)

// chunk answers a chunk request: from the cache at once, else when Redis has answered.
func (c *conn) chunk(a *session.Action) {
	g := c.g
	now := g.now()
	c.mu.Lock()
	if c.chunks >= protocol.MaxChunkRequests {
		c.mu.Unlock()
		c.chunkError(a.ID, protocol.CodeBusy, "too many chunk requests")
		return
	}
	if !c.moving && !c.gone {
		if c.moving = g.transfers.enter(); !c.moving {
			c.mu.Unlock()
			c.chunkError(a.ID, protocol.CodeBusy, "too many devices fetch modules now")
			return
		}
	}
	c.moved = now.UnixNano()
	c.chunks++
	c.mu.Unlock()

	req := *a // the action's memory is used again
	wait := g.rate.take(int(req.Length), now)
	if b, ok := g.modules.cached(req.Digest); ok && wait == 0 {
		c.sendChunk(&req, b, true)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(g.ctx, redisTimeout)
		defer cancel()
		b, err := g.modules.get(ctx, req.Digest)
		if err == nil {
			if wait > 0 {
				select {
				case <-time.After(wait):
				case <-g.ctx.Done():
				}
			}
			c.sendChunk(&req, b, false)
			return
		}
		c.mu.Lock()
		c.chunks--
		c.mu.Unlock()
		code, text := protocol.CodeBusy, "the module cannot be read now"
		if errs.Is(err, errs.NotFound) || errs.Is(err, errs.Invalid) {
			code, text = protocol.CodeNotFound, "the module is not here yet"
		}
		g.log.Debug("chunk", "digest", digest(req.Digest), "err", err)
		c.chunkError(req.ID, code, text)
	}()
}

func (c *conn) sendChunk(a *session.Action, module []byte, inline bool) {
	m := c.g.metrics
	total := uint32(len(module))
	if a.Offset >= total {
		c.mu.Lock()
		c.chunks--
		c.mu.Unlock()
		c.chunkError(a.ID, protocol.CodeState, "the offset is behind the module's end")
		return
	}
	data := module[a.Offset:min(uint64(total), uint64(a.Offset)+uint64(a.Length))]
	last := a.Offset+uint32(len(data)) == total
	o := outputs.Get().(*session.Output)
	c.mu.Lock()
	c.chunks--
	c.s.SendChunk(a.ID, a.Digest[:], a.Offset, data, total, o)
	write := c.took(o)
	free := last && c.moving
	if free {
		c.moving = false
	}
	c.mu.Unlock()
	if free {
		c.g.transfers.leave()
	}
	c.after(o, write, inline)
	m.chunks.Inc()
	m.chunkBytes.Add(float64(len(data)))
}

func (c *conn) chunkError(id uint64, code protocol.Code, text string) {
	c.do(false, func(s *session.Session, _ time.Time, o *session.Output) { s.ChunkError(id, code, text, o) })
}
