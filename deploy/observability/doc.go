// Package observability holds what watches a platform: Prometheus rules, what is scraped, a Grafana board, and what
// kube-state-metrics makes of the platform's objects. There is no Go in it but tests, which hold every metric, label and
// value in those files against the code, every alert against its runbook, and every path against the CRDs.
package observability
