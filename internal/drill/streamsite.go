package drill

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Site is what runs already, somewhere: a drill looks at it from outside.
type Site struct {
	// Hub is host:port of a broker.
	Hub string
	// Gateways are base URLs at which messages are posted.
	Gateways []string
	// Streams is host:port at which clients reach some stream node.
	Streams string
	// Drained returns once nothing waits at the stamps that is not in the hub.
	Drained func(ctx context.Context) error
}

// WatchSite is Watch of a site that is there already, to which do happens; what
// StreamOptions say of nodes and faults is not looked at. Its topic must be
// Topic, and hold nothing that another ledger knows of.
func WatchSite(ctx context.Context, o StreamOptions, site Site, do func(context.Context) error) (_ StreamReport, err error) {
	began := time.Now()
	a := &audience{
		StreamOptions: o, rng: rand.New(rand.NewPCG(o.Seed, 3)), binary: Binary{Path: o.Binary, Dir: o.Dir},
		ledger: NewLedger(), prints: newPrints(), unwatch: func() {}, site: site,
	}
	a.load = newStreamLoad(a.ledger, topic, a.keys(), o.Pace, o.Seed, site.Gateways...)
	defer func() { err = errors.Join(err, a.stop()) }()
	if err = a.watch(ctx); err == nil {
		err = a.loaded(ctx, do)
	}
	if err == nil {
		err = a.judge(ctx)
	}
	a.report.Took = time.Since(began)
	a.sum()
	return a.report, err
}
