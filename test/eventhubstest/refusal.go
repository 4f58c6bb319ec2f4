package eventhubstest

import "maps"

// Refusal is something that Event Hubs does not take, or does in place of what was
// asked.
type Refusal string

// The refusals.
const (
	// TooLarge: a request above MaxRequest. The connection was closed.
	TooLarge Refusal = "too large"
	// Admin: topics made, deleted or given partitions, or settings changed.
	Admin Refusal = "administration"
	// Compressed: a compressed batch.
	Compressed Refusal = "compressed"
	// Transactional: anything of transactions, but on the tier Premium.
	Transactional Refusal = "transactional"
	// Version: a request, or a version of one, that was not offered. The connection
	// was closed.
	Version Refusal = "version"
	// LeaderEpoch: a request that tells a leader epoch or asks about one. It is only
	// counted: the tier Premium answers, and its answers have cost records
	// (opentelemetry-collector-contrib#42226).
	LeaderEpoch Refusal = "leader epoch"
	// Access: a wrong user or connection string, or a mechanism other than PLAIN.
	Access Refusal = "access"
	// Stranger: a request on a connection that has not said who it is. The
	// connection was closed.
	Stranger Refusal = "stranger"
	// Idle: a connection that was silent for too long.
	Idle Refusal = "idle"
	// Throttled: an answer that was held back.
	Throttled Refusal = "throttled"
	// OverQuota: a produce request that would have been held back beyond its timeout,
	// answered by POLICY_VIOLATION, or a fetch answered by nothing.
	OverQuota Refusal = "over quota"
	// Impatient: a produce request that came before the time was over that the
	// answer before it had told to wait. Requests that were on their way already
	// count, too: it tells something of a client that waits for each answer.
	Impatient Refusal = "impatient"
)

// Refused is how often that has happened.
func (d *Double) Refused(r Refusal) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts[r]
}

// Refusals are all that have happened, with how often.
func (d *Double) Refusals() map[Refusal]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.counts)
}

func (d *Double) count(r Refusal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[r]++
}
