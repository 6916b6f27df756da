// Package scenario holds the tests that need the whole platform: they start the built commands as processes,
// as a user does, and break them, as the field does. `make test-scenarios` builds what they need.
package scenario
