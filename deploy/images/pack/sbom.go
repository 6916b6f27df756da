package main

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

// static refuses a binary that needs a loader or libraries, for there are none in the image, and returns its
// architecture as images name it.
func static(file string) (string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return "", errs.New(errs.Invalid, "%s: %w", file, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", errs.New(errs.Invalid, "%s is linked dynamically", file).WithMend("build it with CGO_ENABLED=0")
		}
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", errs.New(errs.Unsupported, "%s is for %s", file, f.Machine)
}

// The parts of SPDX 2.3 that are written here.
type spdxDocument struct {
	SPDXID            string         `json:"SPDXID"`
	SPDXVersion       string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      creationInfo   `json:"creationInfo"`
	Packages          []spdxPackage  `json:"packages"`
	Relationships     []relationship `json:"relationships"`
}

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	SPDXID           string        `json:"SPDXID"`
	Name             string        `json:"name"`
	VersionInfo      string        `json:"versionInfo,omitempty"`
	DownloadLocation string        `json:"downloadLocation"`
	FilesAnalyzed    bool          `json:"filesAnalyzed"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	CopyrightText    string        `json:"copyrightText"`
	Checksums        []checksum    `json:"checksums,omitempty"`
	ExternalRefs     []externalRef `json:"externalRefs,omitempty"`
}

type checksum struct {
	Algorithm     string `json:"algorithm"`
	ChecksumValue string `json:"checksumValue"`
}

type externalRef struct {
	ReferenceCategory string `json:"referenceCategory"`
	ReferenceType     string `json:"referenceType"`
	ReferenceLocator  string `json:"referenceLocator"`
}

type relationship struct {
	SPDXElementID      string `json:"spdxElementId"`
	RelationshipType   string `json:"relationshipType"`
	RelatedSPDXElement string `json:"relatedSpdxElement"`
}

// spdx says what a Go binary is made of, by what the linker wrote into it (`go version -m`). The checksum of a module is
// that of go.sum (h1: SHA-256 over its files).
func spdx(binary, version string, at time.Time) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%s says not what it is made of: %w", binary, err)
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		return nil, errs.New(errs.Invalid, "%w", err)
	}
	sum := digest(b)[len("sha256:"):]
	name := filepath.Base(binary)
	none := func(id, name, version, license string) spdxPackage {
		return spdxPackage{SPDXID: id, Name: name, VersionInfo: version, DownloadLocation: "NOASSERTION", LicenseConcluded: "NOASSERTION", LicenseDeclared: license, CopyrightText: "NOASSERTION"}
	}
	main := none("SPDXRef-binary", name, version, "AGPL-3.0-only")
	main.Checksums = []checksum{{"SHA256", sum}}
	std := none("SPDXRef-go", "stdlib", strings.TrimPrefix(info.GoVersion, "go"), "BSD-3-Clause")
	std.ExternalRefs = purl("pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go"))
	doc := spdxDocument{
		SPDXID: "SPDXRef-DOCUMENT", SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", Name: name,
		DocumentNamespace: "https://wasmbed.io/sbom/" + name + "/" + sum,
		CreationInfo:      creationInfo{Created: at.Format(time.RFC3339), Creators: []string{"Tool: wasmbed.io/wasmbed/deploy/images/pack"}},
		Packages:          []spdxPackage{main, std},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", main.SPDXID},
			{main.SPDXID, "CONTAINS", std.SPDXID}},
	}
	deps := slices.Clone(info.Deps)
	slices.SortFunc(deps, func(a, b *debug.Module) int { return strings.Compare(a.Path, b.Path) })
	for _, d := range deps {
		if d.Replace != nil {
			d = d.Replace
		}
		p := none("SPDXRef-"+regexp.MustCompile(`[^A-Za-z0-9.-]+`).ReplaceAllString(d.Path, "-"), d.Path, d.Version, "NOASSERTION")
		p.ExternalRefs = purl("pkg:golang/" + d.Path + "@" + d.Version)
		if h, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(d.Sum, "h1:")); err == nil && len(h) == 32 {
			p.Checksums = []checksum{{"SHA256", hex.EncodeToString(h)}}
		}
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, relationship{main.SPDXID, "CONTAINS", p.SPDXID})
	}
	out, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return nil, errs.New(errs.Internal, "%w", err)
	}
	return append(out, '\n'), nil
}

func purl(s string) []externalRef { return []externalRef{{"PACKAGE-MANAGER", "purl", s}} }
