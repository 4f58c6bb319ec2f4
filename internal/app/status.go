package app

import (
	"encoding/json"
	"net/http"
	"time"

	"postroad/internal/door"
	"postroad/internal/forward"
	"postroad/internal/httpserve"
	"postroad/internal/kafka"
	"postroad/internal/queue"
)

// statusReport is what GET /admin/v1/status answers.
type statusReport struct {
	Stamps []stampStatus `json:"stamps"`
	// Streams are the stream nodes of the process.
	Streams []streamStatus `json:"streams,omitempty"`
	// Door are the origins of the process's door, where it has one, and DoorStreams
	// those of its group streams, as it sees them. GET /door knows more.
	Door        []door.OriginStatus `json:"door,omitempty"`
	DoorStreams []door.OriginStatus `json:"door_streams,omitempty"`
}

type stampStatus struct {
	Name    string    `json:"name"`
	Region  string    `json:"region,omitempty"`
	Zone    string    `json:"zone,omitempty"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Part says which half of a stamp this process is, "gateway" or "forward";
	// empty where it is both. Each half tells what it knows: a gateway knows of
	// forwarding what the queue's saved progress says.
	Part string `json:"part,omitempty"`
	// Gateway is the base URL of the gateway; empty where there is none.
	Gateway string `json:"gateway,omitempty"`
	// Accepting says whether a POST would be taken now, or, of a forwarder
	// alone, whether its queue can be worked with; Refusing is why not.
	Accepting bool         `json:"accepting"`
	Refusing  string       `json:"refusing,omitempty"`
	Queue     queue.Status `json:"queue"`
	// Flow is what went through of late; left out until it is known.
	Flow *flowStatus `json:"flow,omitempty"`
	// Forward and Hub are left out by a gateway alone.
	Forward *forward.Status `json:"forward,omitempty"`
	Hub     *hubStatus      `json:"hub,omitempty"`
}

// hubStatus is the hub as this process knows it.
type hubStatus struct {
	// Name and Generation tell hubs apart; empty and 0 for one without a name.
	Name       string   `json:"name,omitempty"`
	Generation int      `json:"generation,omitempty"`
	Dialect    string   `json:"dialect"`
	Brokers    []string `json:"brokers"`
	// Answers says whether it can be sent to now, as the breaker sees it, and
	// LastAnswer when it last answered anything.
	Answers    bool      `json:"answers"`
	LastAnswer time.Time `json:"last_answer,omitzero"`
	// ThrottledSeconds is how long it made this process wait, for answers within
	// the last minute, because of a quota; ThrottledAt when it last did.
	ThrottledSeconds float64   `json:"throttled_seconds,omitempty"`
	ThrottledAt      time.Time `json:"throttled_at,omitzero"`
	// Trouble is what is wrong with the files that the settings name, and that are
	// used as they were before.
	Trouble string `json:"trouble,omitempty"`
}

func (s *stamp) hubStatus(f forward.Status) *hubStatus {
	o := s.settings.Hub
	st := &hubStatus{
		Name: o.Name, Generation: o.Generation, Dialect: o.Dialect, Brokers: o.Brokers, Answers: f.Breaker.State == "closed",
	}
	if sink, ok := s.sink.(*kafka.Sink); ok {
		a := sink.Answers()
		st.Brokers, st.Trouble = sink.Brokers(), a.Trouble
		st.LastAnswer, st.ThrottledSeconds, st.ThrottledAt = a.Last, a.Throttled.Seconds(), a.ThrottledAt
	}
	s.nameRelay(st)
	return st
}

func (s *stamp) status() stampStatus {
	st := stampStatus{
		Name: s.settings.Stamp.Name, Region: s.settings.Stamp.Region, Zone: s.settings.Stamp.Zone,
		Version: s.version.Version, Started: s.started, Accepting: true, Queue: s.queue.Status(),
	}
	if s.writes() {
		st.Gateway = s.server.URL()
	} else {
		st.Part = "forward"
	}
	if s.drains() {
		forwarding := s.forward.Status()
		st.Forward, st.Hub = &forwarding, s.hubStatus(forwarding)
	} else {
		st.Part = "gateway"
	}
	st.Flow = s.flow.status(st.Queue, s.writes())
	if err := s.ready(); err != nil {
		st.Accepting, st.Refusing = false, err.Error()
	}
	return st
}

// mountStatus serves the status of the stamps and stream nodes, and of the door
// where there is one.
func mountStatus(admin *httpserve.Admin, stamps []*stamp, streams []*streamNode, d *door.Door) {
	admin.Handle("GET /admin/v1/status", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := statusReport{Stamps: []stampStatus{}}
		for _, s := range stamps {
			r.Stamps = append(r.Stamps, s.status())
		}
		for _, n := range streams {
			r.Streams = append(r.Streams, n.status())
		}
		if d != nil {
			r.Door, r.DoorStreams = doorOrigins(d)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		// What is encoded holds nothing that JSON cannot, and an error of
		// writing is the reader's own.
		_ = json.NewEncoder(w).Encode(r)
	}))
}

// doorOrigins are the origins of a door, those that are stream nodes apart.
func doorOrigins(d *door.Door) (all, nodes []door.OriginStatus) {
	for _, g := range d.Status().Groups {
		if g.Name == "streams" {
			nodes = append(nodes, g.Origins...)
		} else {
			all = append(all, g.Origins...)
		}
	}
	return all, nodes
}
