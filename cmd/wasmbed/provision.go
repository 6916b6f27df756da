package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmbed.io/wasmbed/internal/errs"
	"wasmbed.io/wasmbed/provisioner"
	"wasmbed.io/wasmbed/provisioner/blob"
)

const claimSize = 32 // bytes

type provisionFlags struct {
	name, gateway, serverName, trust, claim, network, out string
}

func (c *cli) provisionCmd() *cobra.Command {
	var f provisionFlags
	cmd := &cobra.Command{
		Use: "provision BOARD", Short: "Write the provisioning blob of a real board", Args: cobra.ExactArgs(1),
		Long: `Write the provisioning blob of a real board: which gateway it calls, whom it trusts, its seed of entropy, and
what it may claim. It is flashed beside the firmware, which is the same for all boards of a kind; the board makes its
own key at its first boot. Make a blob for each board: the seed in it is a secret of that board's. Needs no server.`,
		Example: `  wasmbed provision FrdmK64f --name press-7 --gateway 192.168.1.10:8081 --out press-7.blob
  wasmbed provision Stm32F746gDisco --gateway 192.168.1.10:8081 --claim new --out disco.blob`,
		Annotations: offline(),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.provision(args[0], f)
		},
	}
	p := cmd.Flags()
	p.StringVar(&f.name, "name", "", "name that the device asks for; without it the platform names it")
	p.StringVar(&f.gateway, "gateway", "", "host:port of the gateway as the board reaches it: IPv4 address or DNS name (required)")
	p.StringVar(&f.serverName, "server-name", "", "what the gateway's certificate must carry, when it is not the gateway's host")
	p.StringVar(&f.trust, "trust", "", "file with the certificates that the board trusts, PEM or DER (default trust.pem in the state folder)")
	p.StringVar(&f.claim, "claim", "", `"new", or hex: a claim with which the device enrolls outside of a pairing window`)
	p.StringVar(&f.network, "network", "dhcp", "dhcp, or ADDRESS/PREFIX[,ROUTER[,DNS]]; boards on a serial line need none")
	p.StringVar(&f.out, "out", "", "file to write (required)")
	return cmd
}

func (c *cli) provision(board string, f provisionFlags) error {
	b, ok := provisioner.BoardNamed(board)
	if !ok {
		return errs.New(errs.NotFound, "no board is called %q", board).WithMend("wasmbed boards lists them")
	}
	if b.Refused != "" {
		return errs.New(errs.Unsupported, "board %s cannot be a device: %s", b.Name, b.Refused)
	}
	if f.out == "" || f.gateway == "" {
		return errs.New(errs.Invalid, "--gateway and --out are required")
	}
	content, digest, err := f.blob(b, c.state)
	if err != nil {
		return err
	}
	raw, err := content.Encode()
	if err != nil {
		return err
	}
	// Readable by its owner alone: the seed is the board's secret.
	if err := os.WriteFile(f.out, raw, 0o600); err != nil {
		return errs.New(errs.Internal, "%w", err)
	}
	fmt.Fprintf(c.out, "%s: %d bytes for board %s\n", f.out, len(raw), b.Name)
	if digest != "" {
		fmt.Fprintf(c.out, "claim: set spec.identity.claimDigest of the Device to sha256:%s\n", digest)
	}
	fmt.Fprintln(c.out, whereTo(b, f.out))
	return nil
}

func (f provisionFlags) blob(b provisioner.Board, state string) (out blob.Blob, claimDigest string, err error) {
	host, port, err := splitGateway(f.gateway)
	if err != nil {
		return out, "", err
	}
	out = blob.Blob{Board: b.Name, Name: f.name, Host: host, Port: port, ServerName: f.serverName, Seed: make([]byte, blob.MaxSeed), Floor: time.Now()}
	if out.ServerName == "" {
		out.ServerName = host
	}
	if out.Trust, err = readTrust(firstOf(f.trust, filepath.Join(state, "trust.pem"))); err != nil {
		return out, "", err
	}
	if out.Claim, err = makeClaim(f.claim); err != nil {
		return out, "", err
	}
	if out.Claim != nil {
		sum := sha256.Sum256(out.Claim)
		claimDigest = hex.EncodeToString(sum[:])
	}
	if out.Network, err = parseNetwork(f.network); err != nil {
		return out, "", err
	}
	if _, err := rand.Read(out.Seed); err != nil {
		return out, "", errs.New(errs.Internal, "seed: %w", err)
	}
	return out, claimDigest, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func splitGateway(s string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, errs.New(errs.Invalid, "--gateway %s: %w", s, err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, errs.New(errs.Invalid, "--gateway %s: %w", s, err)
	}
	if a, err := netip.ParseAddr(host); err == nil && !a.Is4() {
		return "", 0, errs.New(errs.Invalid, "--gateway %s: boards speak IPv4", s)
	}
	return host, uint16(n), nil
}

// readTrust returns the certificates of a file, DER.
func readTrust(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, errs.New(errs.Invalid, "trust anchors: %w", err).WithMend("--trust FILE")
	}
	var out [][]byte
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			out = append(out, block.Bytes)
		}
	}
	if len(out) == 0 {
		out = [][]byte{text}
	}
	if len(out) > blob.MaxTrust {
		return nil, errs.New(errs.Invalid, "%s holds %d certificates; a board keeps %d", path, len(out), blob.MaxTrust)
	}
	for _, der := range out {
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, errs.New(errs.Invalid, "%s: %w", path, err)
		}
	}
	return out, nil
}

func makeClaim(s string) ([]byte, error) {
	switch s {
	case "":
		return nil, nil
	case "new":
		claim := make([]byte, claimSize)
		if _, err := rand.Read(claim); err != nil {
			return nil, errs.New(errs.Internal, "claim: %w", err)
		}
		return claim, nil
	}
	claim, err := hex.DecodeString(s)
	if err != nil {
		return nil, errs.New(errs.Invalid, "--claim: %w", err)
	}
	return claim, nil
}

func parseNetwork(s string) (*blob.Network, error) {
	if s == "dhcp" {
		return &blob.Network{}, nil
	}
	parts := strings.Split(s, ",")
	prefix, err := netip.ParsePrefix(parts[0])
	if err != nil || len(parts) > 3 {
		return nil, errs.New(errs.Invalid, "--network %s: it is dhcp, or ADDRESS/PREFIX[,ROUTER[,DNS]]", s)
	}
	n := &blob.Network{Static: true, Address: prefix.Addr(), Prefix: uint8(prefix.Bits())}
	for i, to := range []*netip.Addr{&n.Router, &n.DNS} {
		if i+1 >= len(parts) {
			break
		}
		if *to, err = netip.ParseAddr(parts[i+1]); err != nil {
			return nil, errs.New(errs.Invalid, "--network %s: %w", s, err)
		}
	}
	return n, nil
}

// whereTo says how the blob comes to its place on the board.
func whereTo(b provisioner.Board, file string) string {
	switch {
	case b.Blob == 0:
		return "no address for the blob is known on this board: give its build CONFIG_WASMBED_BLOB_ADDRESS and flash it there"
	case b.QEMU != "" && !flashable(b):
		return fmt.Sprintf("load it at %#x: qemu-system-arm -M %s … -device loader,file=%s,addr=%#x,force-raw=on", b.Blob, b.QEMU, file, b.Blob)
	}
	return fmt.Sprintf("flash it at %#x, any programmer will do, for example:\n  pyocd flash --base-address %#x --format bin %s", b.Blob, b.Blob, file)
}

// flashable reports whether there is flash on the board, where a programmer can put the blob. The FPGA boards have RAM only.
func flashable(b provisioner.Board) bool { return !strings.HasPrefix(b.QEMU, "mps2-") }
