package main

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// knativeLogger has knative.dev/pkg say what it says in this process' log, one level lower: at Info it prints every
// request.
func knativeLogger(log *slog.Logger) *zap.SugaredLogger { return zap.New(bridge{log: log}).Sugar() }

// bridge is a zapcore.Core that writes to slog.
type bridge struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.Core.
func (b bridge) Enabled(l zapcore.Level) bool { return b.log.Enabled(context.Background(), level(l)) }

// With implements zapcore.Core.
func (b bridge) With(f []zapcore.Field) zapcore.Core {
	b.fields = append(b.fields[:len(b.fields):len(b.fields)], f...)
	return b
}

// Check implements zapcore.Core.
func (b bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

// Write implements zapcore.Core.
func (b bridge) Write(e zapcore.Entry, f []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, x := range append(b.fields[:len(b.fields):len(b.fields)], f...) {
		x.AddTo(m)
	}
	args := make([]any, 0, 2*len(m.Fields))
	for k, v := range m.Fields {
		args = append(args, k, v)
	}
	b.log.Log(context.Background(), level(e.Level), e.Message, args...)
	return nil
}

// Sync implements zapcore.Core.
func (bridge) Sync() error { return nil }
