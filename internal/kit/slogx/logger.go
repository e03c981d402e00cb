package slogx

import (
	"context"
	"io"
	"log/slog"
)

// Options say how log lines look.
type Options struct {
	Format string // "text", else JSON
	Level  string // "debug", "info", "warn" or "error"; anything else is info
	Out    io.Writer
}

// New builds a logger whose lines carry the attributes put into the context
// by With.
func New(o Options) *slog.Logger {
	options := &slog.HandlerOptions{Level: level(o.Level)}
	var handler slog.Handler = slog.NewJSONHandler(o.Out, options)
	if o.Format == "text" {
		handler = slog.NewTextHandler(o.Out, options)
	}
	return slog.New(contextHandler{handler})
}

func level(name string) slog.Level {
	switch name {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

type contextKey struct{}

// With puts attributes (host, enrollment, command ...) into the context once;
// every line logged below it carries them.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	outer := attrsOf(ctx)
	all := make([]slog.Attr, 0, len(outer)+len(attrs))
	all = append(append(all, outer...), attrs...)
	return context.WithValue(ctx, contextKey{}, all)
}

func attrsOf(ctx context.Context) []slog.Attr {
	attrs, _ := ctx.Value(contextKey{}).([]slog.Attr)
	return attrs
}

type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	if attrs := attrsOf(ctx); len(attrs) > 0 {
		r.AddAttrs(attrs...)
	}
	return h.Handler.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
