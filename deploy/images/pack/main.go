// Command pack makes an image of one static binary: an archive that `ctr images import`, `k3s ctr images import` and
// `docker load` take, without a base image, a registry or a container runtime. The same input gives the same bytes.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wasmbed.io/wasmbed/internal/errs"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(max(1, errs.ExitCode(err)))
	}
}

// run packs, and prints the image's name and the digest of its manifest.
func run(args []string, out io.Writer) error {
	f := flag.NewFlagSet("pack", flag.ContinueOnError)
	name := f.String("name", "", "`NAME:TAG` of the image")
	binary := f.String("binary", "", "static binary `FILE`; it becomes /app/<its name> and the entry point")
	about := f.String("about", "", "what it is, in one line")
	ca := f.String("ca", "", "authorities' certificates `FILE` (PEM); empty: none")
	created := f.Int64("created", 0, "time of everything in the image, Unix `SECONDS`: the commit's")
	version := f.String("version", "", "version")
	revision := f.String("revision", "", "commit")
	to := f.String("out", "", "archive `FILE`; the SBOM goes beside it, with .spdx.json in place of .tar")
	if err := f.Parse(args); err != nil {
		return errs.New(errs.Invalid, "%w", err)
	}
	for flagged, v := range map[string]string{"-name": *name, "-binary": *binary, "-out": *to} {
		if v == "" {
			return errs.New(errs.Invalid, "%s is not set", flagged)
		}
	}
	if i := strings.LastIndex(*name, ":"); i <= strings.LastIndex(*name, "/") {
		return errs.New(errs.Invalid, "-name %s has no tag", *name)
	}
	arch, err := static(*binary)
	if err != nil {
		return err
	}
	at := time.Unix(*created, 0).UTC()
	sbom, err := spdx(*binary, *version, at)
	if err != nil {
		return err
	}
	img := image{name: *name, arch: arch, created: at, entry: "/app/" + filepath.Base(*binary), sbom: sbom, labels: map[string]string{
		"org.opencontainers.image.title":       filepath.Base(*binary),
		"org.opencontainers.image.description": *about,
		"org.opencontainers.image.version":     *version,
		"org.opencontainers.image.revision":    *revision,
		"org.opencontainers.image.created":     at.Format(time.RFC3339),
		"org.opencontainers.image.licenses":    "AGPL-3.0-only",
		"org.opencontainers.image.vendor":      "Wasmbed",
	}}
	if *ca != "" {
		if img.ca, err = os.ReadFile(*ca); err != nil {
			return errs.New(errs.Invalid, "-ca: %w", err)
		}
	}
	if img.binary, err = os.ReadFile(*binary); err != nil {
		return errs.New(errs.Invalid, "-binary: %w", err)
	}
	archive, digest, err := img.archive()
	if err != nil {
		return err
	}
	if err := write(*to, archive); err != nil {
		return err
	}
	if err := write(strings.TrimSuffix(*to, ".tar")+".spdx.json", sbom); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s@%s %d KiB\n", *name, digest, len(archive)>>10)
	return err
}

// write replaces a file at once: who reads it sees the old or the new one.
func write(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return errs.New(errs.Unavailable, "%w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return errs.New(errs.Unavailable, "%w", err)
	}
	return nil
}
