package fleet

import "time"

// RolloutState is where a staged rollout stands. Persisted by name.
type RolloutState string

// States of a rollout.
const (
	RolloutRunning    RolloutState = "running"
	RolloutHalted     RolloutState = "halted" // by the error budget or by a person
	RolloutDone       RolloutState = "done"
	RolloutRolledBack RolloutState = "rolled_back"
)

// Ring is a stage of a rollout.
type Ring struct {
	// Percent of the hosts that have the new version once the ring is open,
	// those of earlier rings included.
	Percent float64 `json:"percent"`
	// Soak is the least time before the next ring opens.
	Soak time.Duration `json:"soak"`
}

// Rollout brings an item's current version to its hosts in rings. Hosts in a
// ring that is not open keep the previous version, or none.
type Rollout struct {
	Rings []Ring `json:"rings"`
	// MinVerified is the share, 0 to 1, of the open rings' hosts on which the
	// version is verified before the next ring opens.
	MinVerified float64 `json:"min_verified"`
	// MaxFailed is the error budget: the share, 0 to 1, of hosts with an
	// outcome on which the version may fail before the rollout halts.
	MaxFailed float64      `json:"max_failed"`
	State     RolloutState `json:"state"`
	Ring      int          `json:"ring"` // index of the last open ring
	OpenedAt  time.Time    `json:"opened_at"`
	// Why says in words why it halted, was rolled back or waits.
	Why string `json:"why,omitempty"`
}

// ShardBits is the resolution of shards: ten thousand.
const ShardBits = 10_000

// Shard is the host's stable place in [0, ShardBits) for an item's rollouts.
// FNV-1a over both, so that the same hosts are not first every time.
func Shard(item, host string) int {
	h := uint64(14695981039346656037)
	for _, s := range []string{item, "\x00", host} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	h ^= h >> 29
	return int(h % ShardBits)
}

// Open is the share of hosts, 0 to 1, that may have the current version.
func (r *Rollout) Open() float64 {
	if r == nil || r.State == RolloutDone {
		return 1
	}
	if r.State == RolloutRolledBack || len(r.Rings) == 0 {
		return 0
	}
	return min(r.Rings[min(r.Ring, len(r.Rings)-1)].Percent/100, 1)
}

// RolloutCounts is what came of the current version on the hosts that have it.
type RolloutCounts struct {
	Pending, Verifying, Verified, Failed int
}

// Hosts is how many have it in any state.
func (c RolloutCounts) Hosts() int { return c.Pending + c.Verifying + c.Verified + c.Failed }
