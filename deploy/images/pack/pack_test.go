package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program builds this program, static, as the binary to be packed.
func program(t *testing.T, cgo bool) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "pack")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if cgo {
		cmd.Args = []string{"go", "build", "-buildvcs=false", "-ldflags=-linkmode=external", "-o", bin, "."}
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func pack(t *testing.T, bin, out string, more ...string) string {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte("pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	args := append([]string{"-name", "wasmbed.io/pack:1", "-binary", bin, "-about", "packs", "-ca", ca, "-created", "1700000000", "-version", "v1", "-revision", "abc", "-out", out}, more...)
	if err := run(args, &said); err != nil {
		t.Fatal(err)
	}
	return said.String()
}

// open reads an archive as a runtime does, by the OCI layout and by Docker's manifest: every digest and size is checked. It
// returns the config and the names of the files in the layers.
func open(t *testing.T, archive string) (configFile, map[string]bool) {
	t.Helper()
	b, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	blobs := untar(t, b)
	get := func(d descriptor) []byte {
		b, ok := blobs[blobPath(d)]
		if !ok || digest(b) != d.Digest || int64(len(b)) != d.Size {
			t.Fatalf("blob %s: there %v, %d bytes of %d", d.Digest, ok, len(b), d.Size)
		}
		return b
	}
	into := func(b []byte, v any) {
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatal(err)
		}
	}
	var idx index
	var man manifest
	var cfg configFile
	var docker []dockerManifest
	into(blobs["index.json"], &idx)
	if len(idx.Manifests) != 1 || idx.Manifests[0].Annotations["io.containerd.image.name"] != "wasmbed.io/pack:1" {
		t.Fatalf("index %+v", idx)
	}
	into(get(idx.Manifests[0]), &man)
	into(get(man.Config), &cfg)
	into(blobs["manifest.json"], &docker)
	if len(docker) != 1 || docker[0].Config != blobPath(man.Config) || len(docker[0].Layers) != len(man.Layers) || len(cfg.RootFS.DiffIDs) != len(man.Layers) || len(man.Layers) != 2 {
		t.Fatalf("%+v, %+v", docker, cfg.RootFS)
	}
	files := map[string]bool{}
	for i, l := range man.Layers {
		z, err := gzip.NewReader(bytes.NewReader(get(l)))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		if digest(raw) != cfg.RootFS.DiffIDs[i] || docker[0].Layers[i] != blobPath(l) {
			t.Errorf("layer %d is another than the config or Docker's manifest says", i)
		}
		for name := range untar(t, raw) {
			files[name] = true
		}
	}
	return cfg, files
}

func untar(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Mode&0o022 != 0 {
			t.Errorf("%s is of %d, mode %o", h.Name, h.Uid, h.Mode)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// TestImage: what others read of the archive is what was meant.
func TestImage(t *testing.T) {
	bin := program(t, false)
	out := filepath.Join(t.TempDir(), "a.tar")
	said := pack(t, bin, out)
	cfg, files := open(t, out)
	if cfg.Config.User != "65532:65532" || len(cfg.Config.Entrypoint) != 1 || cfg.Config.Entrypoint[0] != "/app/pack" || cfg.OS != "linux" {
		t.Errorf("config %+v", cfg)
	}
	for k, want := range map[string]string{"org.opencontainers.image.version": "v1", "org.opencontainers.image.revision": "abc", "org.opencontainers.image.created": "2023-11-14T22:13:20Z", "io.wasmbed.sbom": sbomPath} {
		if got := cfg.Config.Labels[k]; got != want {
			t.Errorf("label %s is %q, want %q", k, got, want)
		}
	}
	for _, name := range []string{"app/pack", "etc/passwd", "etc/ssl/certs/ca-certificates.crt", "usr/share/sbom/spdx.json"} {
		if !files[name] {
			t.Errorf("%s is not in the image", name)
		}
	}
	if !strings.HasPrefix(said, "wasmbed.io/pack:1@sha256:") {
		t.Errorf("it says %q", said)
	}
	var doc spdxDocument
	b, err := os.ReadFile(strings.TrimSuffix(out, ".tar") + ".spdx.json")
	if err == nil {
		err = json.Unmarshal(b, &doc)
	}
	if err != nil || doc.SPDXVersion != "SPDX-2.3" || len(doc.Packages) < 2 || doc.Packages[0].Checksums[0].ChecksumValue == "" {
		t.Errorf("SBOM %+v, %v", doc, err)
	}
	ids := map[string]bool{}
	for _, p := range doc.Packages {
		if ids[p.SPDXID] {
			t.Errorf("two packages are %s", p.SPDXID)
		}
		ids[p.SPDXID] = true
	}
}

// TestReproducible: the same input, the same bytes; another input, others.
func TestReproducible(t *testing.T) {
	bin, dir := program(t, false), t.TempDir()
	a, b, c := filepath.Join(dir, "a.tar"), filepath.Join(dir, "b.tar"), filepath.Join(dir, "c.tar")
	pack(t, bin, a)
	pack(t, bin, b)
	pack(t, bin, c, "-version", "v2")
	read := func(p string) []byte {
		x, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	if !bytes.Equal(read(a), read(b)) {
		t.Error("two archives of the same differ")
	}
	if bytes.Equal(read(a), read(c)) {
		t.Error("another version is the same archive")
	}
}

func TestRefused(t *testing.T) {
	static := program(t, false)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no binary"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x.tar")
	cases := map[string][]string{
		"no tag":    {"-name", "wasmbed.io/x", "-binary", static, "-out", out},
		"a port":    {"-name", "localhost:5000/x", "-binary", static, "-out", out},
		"no binary": {"-name", "x:1", "-binary", text, "-out", out},
		"no name":   {"-binary", static, "-out", out},
	}
	if _, err := exec.LookPath("cc"); err == nil {
		cases["dynamic"] = []string{"-name", "x:1", "-binary", program(t, true), "-out", out}
	}
	for name, args := range cases {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("%s: packed", name)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: there is an archive", name)
		}
	}
}
