package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// teeHandler writes everything into the log file, and what people should notice to the terminal as well.
type teeHandler struct{ file, terminal slog.Handler }

func (t teeHandler) Enabled(ctx context.Context, l slog.Level) bool { return t.file.Enabled(ctx, l) }

func (t teeHandler) Handle(ctx context.Context, r slog.Record) error {
	err := t.file.Handle(ctx, r)
	if r.Level >= slog.LevelError {
		err = errors.Join(err, t.terminal.Handle(ctx, r.Clone()))
	}
	return err
}

func (t teeHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return teeHandler{t.file.WithAttrs(a), t.terminal.WithAttrs(a)}
}

func (t teeHandler) WithGroup(name string) slog.Handler {
	return teeHandler{t.file.WithGroup(name), t.terminal.WithGroup(name)}
}

// exitOnSecondSignal lets an impatient Ctrl-C end the program at once; the kernel ends its children.
func exitOnSecondSignal(ctx context.Context) {
	<-ctx.Done()
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	<-c
	os.Exit(1)
}
