package functions

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

// BenchmarkRollout takes one revision to 1,000 devices, all transports left out: what the functions, the
// ledger and Redis need of one core.
func BenchmarkRollout(b *testing.B) {
	const n = 1000
	w := newWorld(b, false, 1)
	w.gateway(v1alpha1.PairingAutomatic)
	for i := range n { // known, without the enrollment
		d := w.newDevice(fmt.Sprintf("press-%04d", i))
		_, err := w.set.Devices.Create(w.ctx, deviceObject(d.who))
		if err != nil {
			b.Fatal(err)
		}
		d.connect()
	}
	w.settle(30 * time.Second)
	w.create("app", wasm(0), func(a *v1alpha1.Application) { a.Spec.Rollout.MaxUnavailable = ptr(intstr.FromString("100%")) })
	w.settle(time.Second)
	w.want("app", "Ready", "True", "DevicesReady")
	handled := w.handled
	b.ResetTimer()
	for i := range b.N {
		w.edit("app", func(a *v1alpha1.Application) { a.Spec.Module.Inline = wasm(byte(i + 1)) })
		w.settle(2 * time.Second)
		w.want("app", "Ready", "True", "DevicesReady")
	}
	b.ReportMetric(float64(w.handled-handled)/float64(b.N), "events/op")
}
