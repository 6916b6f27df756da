package validate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"

	"wasmbed.io/wasmbed/api/v1alpha1"
	"wasmbed.io/wasmbed/internal/errs"
)

// Device checks a Device; old is nil for a new one.
func (v *Validator) Device(ctx context.Context, old, d *v1alpha1.Device) Findings {
	var fs Findings
	if d.DeletionTimestamp != nil || old != nil && equality.Semantic.DeepEqual(old.Spec, d.Spec) {
		return nil
	}
	if old != nil {
		pinned(&fs, old, d)
	}
	if old == nil || old.Spec.Board != d.Spec.Board || !equality.Semantic.DeepEqual(backend(old), backend(d)) {
		v.board(&fs, d)
	}
	if k := key(d); len(k) > 0 && (old == nil || !bytes.Equal(key(old), k)) {
		publicKey(&fs, k)
	}
	if g := d.Spec.Gateway; g != "" && (old == nil || old.Spec.Gateway != g) {
		switch err := v.world.Gateway(ctx, d.Namespace, g); {
		case errs.Is(err, errs.NotFound):
			fs.warn("spec.gateway", "", "kubectl get gateways", "there is no Gateway %s in namespace %s: the device is let in nowhere until there is", g, d.Namespace)
		case err != nil:
			fs.unknown("spec.gateway", err)
		}
	}
	approval(&fs, old, d)
	return fs
}

func key(d *v1alpha1.Device) []byte {
	if d.Spec.Identity == nil {
		return nil
	}
	return d.Spec.Identity.PublicKey
}

func claim(d *v1alpha1.Device) string {
	if d.Spec.Identity == nil {
		return ""
	}
	return d.Spec.Identity.ClaimDigest
}

// backend is what of a device's emulation has to do with its board.
func backend(d *v1alpha1.Device) [2]string {
	if d == nil || d.Spec.Emulation == nil {
		return [2]string{}
	}
	return [2]string{d.Spec.Emulation.Backend, d.Spec.Emulation.Transport}
}

// pinned: what an enrolled device is does not change. A device holds a certificate when its status says so.
func pinned(fs *Findings, old, d *v1alpha1.Device) {
	const anew = "delete the Device and make it anew: then it enrolls anew"
	had := key(old)
	if len(had) > 0 && !bytes.Equal(had, key(d)) {
		fs.refuse("spec.identity.publicKey", "", anew, "the key is pinned: no other device gets this one's name")
	}
	if old.Status.Certificate == nil {
		return
	}
	if old.Spec.Board != d.Spec.Board {
		fs.refuse("spec.board", "", anew, "the device is enrolled as a %s: its board does not become a %s", old.Spec.Board, d.Spec.Board)
	}
	if len(had) == 0 && len(key(d)) > 0 {
		fs.refuse("spec.identity.publicKey", "", anew, "the device is enrolled: only enrollment pins its key now")
	}
}

// board checks the board against the table and the backend that is to emulate it.
func (v *Validator) board(fs *Findings, d *v1alpha1.Device) {
	e, name := d.Spec.Emulation, d.Spec.Board
	b, known := v.boards[name]
	const list = "wasmbed boards lists them"
	switch {
	case len(v.table) == 0 || e != nil && e.Backend == v1alpha1.BackendHost && known && b.Refused == "":
	case !known && e != nil && e.Backend != v1alpha1.BackendHost:
		fs.refuse("spec.board", "", list, "there is no board %q, so nothing can emulate it", name)
	case !known:
		fs.warn("spec.board", "", list, "the table of boards has no %q: what it can hold is known when it connects", name)
	case b.Refused != "":
		fs.refuse("spec.board", "Unsupported", list, "%s: %s", name, b.Refused)
	case e != nil && (e.Backend == v1alpha1.BackendQEMU && !b.QEMU || e.Backend == v1alpha1.BackendRenode && !b.Renode):
		fs.refuse("spec.emulation.backend", "", "wasmbed boards shows which backends know it", "board %s is not known to backend %s", name, e.Backend)
	}
}

// publicKey checks that a pinned key is one that a device can have: P-256, the one curve of the device protocol.
func publicKey(fs *Findings, der []byte) {
	const mend = "SubjectPublicKeyInfo, DER, base64: openssl ec -in key.pem -pubout -outform DER | base64 -w0"
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		fs.refuse("spec.identity.publicKey", "", mend, "no public key: %v", err)
		return
	}
	if ec, ok := k.(*ecdsa.PublicKey); !ok || ec.Curve != elliptic.P256() {
		fs.refuse("spec.identity.publicKey", "", mend, "a key of kind %s; devices have ECDSA P-256", kind(k))
	}
}

func kind(k any) string {
	if ec, ok := k.(*ecdsa.PublicKey); ok {
		return "ECDSA " + ec.Params().Name
	}
	return fmt.Sprintf("%T", k)
}

func approval(fs *Findings, old, d *v1alpha1.Device) {
	was, is := v1alpha1.Approval(""), d.Spec.Approval
	if old != nil {
		was = old.Spec.Approval
	}
	switch {
	case was == is || is != v1alpha1.ApprovalApproved:
	case was == v1alpha1.ApprovalRevoked || was == v1alpha1.ApprovalRejected:
		fs.warn("spec.approval", "", "", "the device was %s: its key is let in again", was)
	case len(key(d)) == 0 && claim(d) == "" && d.Spec.Emulation == nil:
		fs.warn("spec.identity", "", "pin its public key, or give it a claim (identity.claimDigest)",
			"approved without a key or a claim: the first device that asks under this name in a pairing window becomes it")
	}
}
