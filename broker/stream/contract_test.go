package stream_test

import (
	"net"
	"testing"

	"wasmbed.io/wasmbed/broker/stream"
	"wasmbed.io/wasmbed/broker/stream/contract"
)

// The embedded broker keeps Knative's contract.
func TestContract(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := contract.New(t, l, "127.0.0.1")
	b := start(t, s.Triggers("plant", "default"), stream.Options{})
	s.Run(t, b.URL)
}
