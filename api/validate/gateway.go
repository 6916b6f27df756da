package validate

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"

	"wasmbed.io/wasmbed/api/v1alpha1"
)

// emptyDigest is the digest of nothing, which is what a broken build pipeline measures.
const emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// longPairing is how far ahead a pairing window may end before it is worth a word.
const longPairing = 7 * 24 * time.Hour

// Gateway checks a Gateway; old is nil for a new one.
func (v *Validator) Gateway(_ context.Context, old, g *v1alpha1.Gateway) Findings {
	var fs Findings
	if g.DeletionTimestamp != nil || old != nil && equality.Semantic.DeepEqual(old.Spec, g.Spec) {
		return nil
	}
	if old == nil || old.Spec.Address != g.Spec.Address {
		address(&fs, g.Spec.Address)
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Spec.Attestation, g.Spec.Attestation) {
		v.attestation(&fs, old, g.Spec.Attestation)
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Spec.Pairing, g.Spec.Pairing) || old.Spec.Attestation.Mode != g.Spec.Attestation.Mode {
		v.pairing(&fs, g.Spec)
	}
	return fs
}

func address(fs *Findings, text string) {
	const field, mend = "spec.address", "host:port as the devices dial it"
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		fs.refuse(field, "", mend, "%v", err)
		return
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		if len(validation.IsDNS1123Subdomain(strings.ToLower(host))) > 0 {
			fs.refuse(field, "", mend, "%q is neither a DNS name nor an address", host)
		}
		return
	}
	if a.IsUnspecified() || a.IsMulticast() {
		fs.refuse(field, "", mend, "%s is no address that a device can dial", host)
	}
}

func (v *Validator) attestation(fs *Findings, old *v1alpha1.Gateway, p v1alpha1.AttestationPolicy) {
	const field = "spec.attestation"
	if p.Mode != v1alpha1.AttestationRequire {
		switch {
		case old != nil && old.Spec.Attestation.Mode == v1alpha1.AttestationRequire:
			fs.warn(field+".mode", "", "", "devices that enroll from now on prove nothing about their firmware")
		case len(p.Measurements) > 0:
			fs.warn(field+".mode", "", "mode: Require", "the measurements are not asked for")
		}
	}
	var seen []v1alpha1.Measurement
	for i, m := range p.Measurements {
		at := indexed(field+".measurements", i)
		switch {
		case m.Digest == emptyDigest:
			fs.refuse(at+".digest", "", "sha256sum firmware.bin", "the digest of no bytes at all: that is no firmware")
		case slices.Contains(seen, m):
			fs.warn(at, "", "", "it stands there twice")
		}
		if _, known := v.boards[m.Board]; m.Board != "" && !known && len(v.table) > 0 {
			fs.warn(at+".board", "", "wasmbed boards lists them", "the table of boards has no %q", m.Board)
		}
		seen = append(seen, m)
	}
}

func (v *Validator) pairing(fs *Findings, s v1alpha1.GatewaySpec) {
	until := s.Pairing.Until
	if until == nil {
		return
	}
	open := until.Sub(v.now())
	open = open.Round(time.Minute)
	switch {
	case open <= 0:
		fs.warn("spec.pairing.until", "", "", "the window is over already")
	case open > longPairing && s.Pairing.Approval == v1alpha1.PairingAutomatic && s.Attestation.Mode != v1alpha1.AttestationRequire:
		fs.warn("spec.pairing", "", "a shorter window, approval: Manual, or attestation", "for %v whoever reaches %s becomes a device of this namespace", open, s.Address)
	}
}

// GatewayGone says who is bound to a Gateway that is to be deleted.
func (v *Validator) GatewayGone(ctx context.Context, g *v1alpha1.Gateway) Findings {
	var fs Findings
	devices, more, err := v.world.Devices(ctx, g.Namespace, "", lookedAt)
	if err != nil {
		return nil // it is gone whatever would be said
	}
	var bound []string
	for i := range devices {
		if devices[i].Spec.Gateway == g.Name && devices[i].DeletionTimestamp == nil {
			bound = append(bound, devices[i].Name)
		}
	}
	if len(bound) > 0 {
		least := ""
		if more {
			least = "at least "
		}
		fs.warn("", "", "another spec.gateway for them, or none", "%s%s (%s) may use this Gateway alone", least, plural(len(bound), "device"), names(bound))
	}
	return fs
}
