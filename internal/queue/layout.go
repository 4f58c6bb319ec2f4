package queue

import (
	"fmt"
	"path"
)

// The files of a queue directory. docs/design/queue-format.md describes each.
//
//	lanes/<lane>/lane                  who writes it, and which lane came before
//	lanes/<lane>/fence                 all zero while the lane is alive
//	lanes/<lane>/heartbeat             two slots: counter, durable seq
//	lanes/<lane>/<number>.seg          frame groups
//	processes/<process>/owner          who it is
//	processes/<process>/heartbeat      two slots, renewed by a draining process
//	claims/<chain>/claim.<epoch>       who drains the chain
//	claims/<chain>/revoked.<epoch>     all zero until a successor revokes the claim
//	claims/<chain>/progress.<epoch>    two slots: how far it is forwarded
//	ballast                            deleted when a forwarder finds no room
//	quarantine/<lane>.<number>.<offset>.{bytes,json}  what could not be read
type layout struct{ dir string }

func (l layout) lanes() string      { return path.Join(l.dir, "lanes") }
func (l layout) claims() string     { return path.Join(l.dir, "claims") }
func (l layout) quarantine() string { return path.Join(l.dir, "quarantine") }
func (l layout) processes() string  { return path.Join(l.dir, "processes") }

func (l layout) process(id string) string { return path.Join(l.processes(), id) }

func (l layout) lane(id string) string { return path.Join(l.lanes(), id) }

func (l layout) laneFile(id, name string) string { return path.Join(l.lanes(), id, name) }

func (l layout) chain(id string) string { return path.Join(l.claims(), id) }

func (l layout) claimFile(chain, kind string, epoch uint64) string {
	return path.Join(l.chain(chain), fmt.Sprintf("%s.%06d", kind, epoch))
}

// Names of the files in a lane's directory.
const (
	laneFileName      = "lane"
	fenceFileName     = "fence"
	heartbeatFileName = "heartbeat"
	ownerFileName     = "owner"
)
