package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"slices"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// user that the process runs as, and its group: what distroless images call nonroot.
const user = 65532

const sbomPath = "/usr/share/sbom/spdx.json"

// image is what goes into an archive.
type image struct {
	name, arch, entry string
	created           time.Time
	labels            map[string]string
	binary, ca, sbom  []byte
}

// The parts of the OCI image format that are written here (image-spec v1.1).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type configFile struct {
	platform
	Created time.Time     `json:"created"`
	Config  processConfig `json:"config"`
	RootFS  rootFS        `json:"rootfs"`
	History []history     `json:"history"`
}

type processConfig struct {
	User       string
	Env        []string
	Entrypoint []string
	WorkingDir string
	Labels     map[string]string
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// dockerManifest is what `docker load` of before 25 reads: it does not know the OCI layout around it.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type entry struct {
	name string // without the leading slash; a folder ends in one
	mode int64
	data []byte
}

// layers are the files of the image: first what changes seldom.
func (m image) layers() [][]entry {
	base := []entry{
		{name: "app/", mode: 0o755}, {name: "etc/", mode: 0o755}, {name: "usr/", mode: 0o755}, {name: "usr/share/", mode: 0o755}, {name: "usr/share/sbom/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/nsswitch.conf", mode: 0o644, data: []byte("hosts: files dns\n")},
	}
	if m.ca != nil {
		base = append(base, entry{name: "etc/ssl/", mode: 0o755}, entry{name: "etc/ssl/certs/", mode: 0o755},
			entry{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: m.ca})
	}
	return [][]entry{base, {{name: m.entry[1:], mode: 0o755, data: m.binary}, {name: sbomPath[1:], mode: 0o644, data: m.sbom}}}
}

// archive returns the image as a tar file, and the digest of its manifest.
func (m image) archive() ([]byte, string, error) {
	var blobs []entry
	blob := func(mediaType string, b []byte) descriptor {
		d := digest(b)
		blobs = append(blobs, entry{name: path.Join("blobs/sha256", d[len("sha256:"):]), mode: 0o644, data: b})
		return descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
	}
	labels := map[string]string{"io.wasmbed.sbom": sbomPath, "io.wasmbed.sbom.digest": digest(m.sbom)}
	for k, v := range m.labels {
		if v != "" {
			labels[k] = v
		}
	}
	cfg := configFile{
		platform: platform{m.arch, "linux"}, Created: m.created, RootFS: rootFS{Type: "layers"},
		Config: processConfig{User: "65532:65532", Env: []string{"PATH=/app", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"}, Entrypoint: []string{m.entry}, WorkingDir: "/", Labels: labels},
	}
	var layers []descriptor
	for _, es := range m.layers() {
		raw, err := m.tar(es)
		if err != nil {
			return nil, "", err
		}
		var z bytes.Buffer
		w := gzip.NewWriter(&z) // no name, no time
		if _, err := w.Write(raw); err != nil {
			return nil, "", errs.New(errs.Internal, "%w", err)
		}
		if err := w.Close(); err != nil {
			return nil, "", errs.New(errs.Internal, "%w", err)
		}
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, digest(raw))
		cfg.History = append(cfg.History, history{m.created, "wasmbed.io/wasmbed/deploy/images/pack"})
		layers = append(layers, blob("application/vnd.oci.image.layer.v1.tar+gzip", z.Bytes()))
	}
	cfgBytes, err := json.Marshal(cfg)
	if err != nil {
		return nil, "", errs.New(errs.Internal, "%w", err)
	}
	cfgBlob := blob("application/vnd.oci.image.config.v1+json", cfgBytes)
	manBytes, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: "application/vnd.oci.image.manifest.v1+json", Config: cfgBlob, Layers: layers, Annotations: labels})
	if err != nil {
		return nil, "", errs.New(errs.Internal, "%w", err)
	}
	man := blob("application/vnd.oci.image.manifest.v1+json", manBytes)
	man.Platform = &platform{m.arch, "linux"}
	// containerd names the image by the first, others by the second.
	man.Annotations = map[string]string{"io.containerd.image.name": m.name, "org.opencontainers.image.ref.name": m.name}
	docker := dockerManifest{Config: blobPath(cfgBlob), RepoTags: []string{m.name}}
	for _, l := range layers {
		docker.Layers = append(docker.Layers, blobPath(l))
	}
	files := slices.Concat([]entry{{name: "blobs/", mode: 0o755}, {name: "blobs/sha256/", mode: 0o755}}, blobs)
	for _, f := range []struct {
		name string
		v    any
	}{
		{"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}},
		{"index.json", index{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []descriptor{man}}},
		{"manifest.json", []dockerManifest{docker}},
	} {
		b, err := json.Marshal(f.v)
		if err != nil {
			return nil, "", errs.New(errs.Internal, "%w", err)
		}
		files = append(files, entry{name: f.name, mode: 0o644, data: b})
	}
	out, err := m.tar(files)
	return out, man.Digest, err
}

// tar writes entries of root's, all of the image's time.
func (m image) tar(es []entry) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range es {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.data)), ModTime: m.created, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, errs.New(errs.Internal, "%s: %w", e.name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, errs.New(errs.Internal, "%s: %w", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, errs.New(errs.Internal, "%w", err)
	}
	return b.Bytes(), nil
}

func blobPath(d descriptor) string { return "blobs/sha256/" + d.Digest[len("sha256:"):] }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
