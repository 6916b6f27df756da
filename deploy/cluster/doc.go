// Package cluster holds the tests of Wasmbed on a real Kubernetes with Knative: it was installed from the manifests,
// and here are devices, faults and people.
//
// They run where KUBECONFIG points, on a machine (or in a network) from which Services and Pods can be reached, when
// WASMBED_CLUSTER_TEST=1; deploy/cluster/test prepares all of it, `make test-cluster` calls that. What they are told:
//
//	WASMBED_CLUSTER_HOST   address under which Pods reach this process (the subscribers of the contract's suite)
//	WASMBED_CLUSTER_BIN    folder of the built commands (default ../../bin)
//	WASMBED_CLUSTER_APISERVER  process id of the API server, which is stopped for a minute (default: that test is not run)
//	WASMBED_CLUSTER_GATEWAY  host:port of the gateway's TLS Service for devices (default: the Service's cluster address)
package cluster
