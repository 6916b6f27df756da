// Package protocol is the device protocol wasmbed/1: messages, codec, frames, limits, words. SPEC.md is
// normative, wire.cddl describes the bodies, vectors/ is read by this package, by the C core and by a device
// written from the SPEC alone (testdata/foreign). They change in one commit.
//
// A gateway reads bodies with Reader and Decode (or DecodeTelemetryRaw on its hot path), asks its Phase
// whether a message is allowed, and writes with Append. What is refused is a *WireError.
//
// The codec is our own: a message describes its fields once (walk.go) and that walk both writes and reads, in
// one pass, since deterministic CBOR sorts keys. It is stricter than a general library can be asked to be
// (key order, shortest forms, required keys) and takes about half its time; the library is the oracle of the
// tests.
package protocol
