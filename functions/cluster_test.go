package functions

import "testing"

// TestRedisCluster is the functions' life on a real Redis Cluster of three: what one script touches must be in one slot,
// and an empty cluster is a lost ledger as an empty server is.
func TestRedisCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Redis Clusters")
	}
	for name, test := range map[string]func(*testing.T){
		"Life":    func(t *testing.T) { life(newWorld(t, true, 1)) },
		"AtOnce":  func(t *testing.T) { w := newWorld(t, false, 1); w.parallel = 16; life(w) },
		"Modules": TestModuleProblems, "ModuleMissed": TestModuleMissed, "NothingToRollBackTo": TestNothingToRollBackTo, "Hold": TestPauseHoldAwayAndDeadline,
		"History": TestHistory, "ManyDevices": TestManyDevicesStayWithinMaxUnavailable,
	} {
		t.Run(name, test)
	}
}
