package validate_test

import (
	"strings"
	"testing"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/api/validate"
	"wasmbed.io/wasmbed/internal/errs"
)

func TestGuarded(t *testing.T) {
	w := newWorld(t)
	set := validate.Guarded(w.Set, w.v)
	var said []string
	ctx := validate.Listen(t.Context(), func(s string) { said = append(said, s) })
	d, err := set.Devices.Create(ctx, &v1alpha1.Device{ObjectMeta: named("d", nil), Spec: v1alpha1.DeviceSpec{Board: "Big", Gateway: "none"}})
	if err != nil || len(said) != 1 || !strings.Contains(said[0], "no Gateway none") {
		t.Fatalf("%v %q", err, said)
	}
	if _, err := set.Devices.Create(t.Context(), &v1alpha1.Device{ObjectMeta: named("e", nil), Spec: v1alpha1.DeviceSpec{Board: "Never"}}); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
	d.Status.Certificate = &v1alpha1.CertificateStatus{Serial: "1"}
	if d, err = set.Devices.UpdateStatus(ctx, d); err != nil {
		t.Fatal(err)
	}
	d.Spec.Board = "Small"
	if _, err := set.Devices.Update(ctx, d); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "enrolled") {
		t.Error(err)
	}
	d.Spec.Board, d.Spec.Hold = "Big", true
	if d, err = set.Devices.Update(t.Context(), d); err != nil || !d.Spec.Hold {
		t.Error(err)
	}
	d.Name = "nobody"
	if _, err := set.Devices.Update(t.Context(), d); !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
}
