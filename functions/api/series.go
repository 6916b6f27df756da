package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"wasmbed.io/wasmbed/broker/event"
	"wasmbed.io/wasmbed/broker/ledger"
	"wasmbed.io/wasmbed/internal/errs"
)

// Sample is one telemetry record.
type Sample struct {
	Device string    `json:"device"`
	Time   time.Time `json:"time"` // as the device knew it; zero when it did not
	App    string    `json:"app"`
	Name   string    `json:"name"`
	Value  float64   `json:"value"`
}

// Line is one log line. Level is 1 debug, 2 info, 3 warning, 4 error; App is empty for the firmware itself.
type Line struct {
	Device string    `json:"device"`
	Time   time.Time `json:"time"`
	App    string    `json:"app,omitempty"`
	Level  uint8     `json:"level"`
	Text   string    `json:"text"`
}

func samples(d string, in []ledger.TelemetryEntry) []any {
	out := make([]any, len(in))
	for i, e := range in {
		out[i] = Sample{Device: d, Time: e.Time, App: e.App, Name: e.Name, Value: e.Value}
	}
	return out
}

func lines(d string, in []ledger.LogEntry) []any {
	out := make([]any, len(in))
	for i, e := range in {
		out[i] = Line{Device: d, Time: e.Time, App: e.App, Level: e.Level, Text: e.Text}
	}
	return out
}

// readSeries reads one device's telemetry or logs behind a cursor.
type readSeries func(ctx context.Context, d event.Device, from string, n int) ([]any, string, error)

func (a *API) readTelemetry(ctx context.Context, d event.Device, from string, n int) ([]any, string, error) {
	got, next, err := a.Ledger.Telemetry(ctx, d, from, n)
	return samples(d.Name, got), next, err
}

func (a *API) readLogs(ctx context.Context, d event.Device, from string, n int) ([]any, string, error) {
	got, next, err := a.Ledger.Logs(ctx, d, from, n)
	return lines(d.Name, got), next, err
}

func (a *API) telemetry(w http.ResponseWriter, r *request) error {
	return a.series(w, r, "telemetry", a.readTelemetry)
}

func (a *API) logs(w http.ResponseWriter, r *request) error { return a.series(w, r, "log", a.readLogs) }

func (a *API) series(w http.ResponseWriter, r *request, kind string, read readSeries) error {
	d := event.Device{Namespace: r.namespace, Name: r.name}
	return serve(w, r, kind, func(ctx context.Context, from string, n int) ([]any, []string, string, error) {
		got, next, err := read(ctx, d, from, n)
		return got, same(next, len(got)), next, err
	})
}

// maxSeries bounds the devices whose series one request follows together.
const maxSeries = 100

func (a *API) telemetryOfAll(w http.ResponseWriter, r *request) error {
	return a.seriesOfAll(w, r, "telemetry", a.readTelemetry)
}

func (a *API) logsOfAll(w http.ResponseWriter, r *request) error {
	return a.seriesOfAll(w, r, "log", a.readLogs)
}

// seriesOfAll merges the series of the first hundred devices of the namespace. Its cursor is the map of
// their cursors.
func (a *API) seriesOfAll(w http.ResponseWriter, r *request, kind string, read readSeries) error {
	return serve(w, r, kind, func(ctx context.Context, from string, n int) ([]any, []string, string, error) {
		at := map[string]string{}
		if from != "" {
			b, err := base64.RawURLEncoding.DecodeString(from)
			if err == nil {
				err = json.Unmarshal(b, &at)
			}
			if err != nil {
				return nil, nil, "", errs.New(errs.Invalid, "after is not a cursor of this list")
			}
		}
		views, _, err := a.Ledger.Devices(ctx, r.namespace, "", maxSeries)
		if err != nil {
			return nil, nil, "", err
		}
		var out []any
		for _, v := range views {
			if len(out) >= n {
				break
			}
			got, next, err := read(ctx, v.Device, at[v.Device.Name], n-len(out))
			if err != nil {
				return nil, nil, "", err
			}
			out = append(out, got...)
			if next != "" {
				at[v.Device.Name] = next
			}
		}
		b, err := json.Marshal(at)
		if err != nil {
			return nil, nil, "", errs.New(errs.Internal, "%w", err)
		}
		next := base64.RawURLEncoding.EncodeToString(b)
		return out, same(next, len(out)), next, nil
	})
}
