package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kelseyhightower/envconfig"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/internal/run"
)

func anchor(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trust.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func config(t *testing.T, environment map[string]string) *Config {
	t.Helper()
	for name, value := range environment {
		t.Setenv("WASMBED_DEVICE_"+name, value)
	}
	var c Config
	if err := envconfig.Process(run.Prefix, &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func TestManual(t *testing.T) {
	var out strings.Builder
	var cfg Config
	if code := run.Main("device", "about", []string{"--help"}, &out, &cfg, serve); code != 0 {
		t.Fatalf("code %d", code)
	}
	for _, name := range []string{"GATEWAY", "NAME", "BOARD", "DIR", "TRUST", "CLAIM", "COUNT", "SERVER_NAME", "STAGGER", "SYNC"} {
		if !strings.Contains(out.String(), "WASMBED_DEVICE_"+name) {
			t.Errorf("WASMBED_DEVICE_%s is not in the manual:\n%s", name, out.String())
		}
	}
}

func TestBadSettings(t *testing.T) {
	trust, dir := anchor(t), t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, environment := range map[string]map[string]string{
		"no trust file":    {"TRUST": filepath.Join(dir, "missing")},
		"empty trust file": {"TRUST": empty},
		"no device":        {"COUNT": "0"},
		"no port":          {"GATEWAY": "localhost"},
		"a file for a dir": {"DIR": filepath.Join(empty, "device")},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{"GATEWAY": "127.0.0.1:1", "TRUST": trust, "DIR": filepath.Join(dir, "device")}
			maps.Copy(all, environment)
			c := config(t, all)
			err := serve(context.Background(), c, slog.New(slog.DiscardHandler))
			if code := errs.CodeOf(err); code != errs.Invalid && code != errs.Unavailable {
				t.Errorf("%v", err)
			}
		})
	}
}

// Nobody answers: the devices wait, each in its own directory, and end when they are told to.
func TestFleetWithoutGateway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{}, 100)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			called <- struct{}{}
			_ = c.Close()
		}
	}()
	defer listener.Close()
	dir := t.TempDir()
	c := config(t, map[string]string{
		"GATEWAY": listener.Addr().String(), "TRUST": anchor(t), "DIR": dir, "NAME": "meter", "COUNT": "3", "STAGGER": "1ms", "SYNC": "false",
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c, slog.New(slog.DiscardHandler)) }()
	for range 4 { // each of them, and one again
		select {
		case <-called:
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		case <-time.After(30 * time.Second):
			t.Fatal("no device called")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"meter-0001", "meter-0002", "meter-0003"} {
		if _, err := os.Stat(filepath.Join(dir, name, "key.pem")); err != nil {
			t.Error(err)
		}
	}
}
