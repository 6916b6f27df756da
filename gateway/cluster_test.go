package gateway

import "testing"

// TestRedisCluster is a good part of the gateway's tests on a real Redis Cluster of three: what touches several keys must
// find them in one slot, wakes must reach gateways connected to any node, and an empty cluster begins a new era.
func TestRedisCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Redis Clusters")
	}
	for name, test := range map[string]func(*testing.T){
		"Session": TestSession, "Enroll": TestEnroll, "NewerSessionWins": TestNewerSessionWins, "DenyList": TestDenyListEndsLiveSessions,
		"Transfer": TestDeployAndResumedTransfer, "GatewayDies": TestGatewayDies, "Lease": TestLeaseOfADeadGateway, "FlushAll": TestFlushAll, "Timers": TestTimers,
	} {
		t.Run(name, test)
	}
}
