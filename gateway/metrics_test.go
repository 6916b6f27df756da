package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// TestEnds: the metrics of certificates say when the first of them ends.
func TestEnds(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	var anchors []byte
	for _, later := range []time.Duration{time.Hour, 0, 48 * time.Hour} {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-time.Hour), NotAfter: end.Add(later), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		anchors = append(anchors, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	tr, err := newTrust(anchors, nil)
	if err != nil || !tr.end.Equal(end) || seconds(tr.end) != float64(end.Unix()) {
		t.Errorf("the anchors end %v, %v", tr, err)
	}
	if got := ends([][]byte{{1, 2}, nil}); !got.IsZero() || seconds(got) != 0 {
		t.Errorf("what is no certificate ends %v", got)
	}
}
