package app

import (
	"encoding/json"
	"net/http"
	"time"

	"postroad/internal/door"
	"postroad/internal/forward"
	"postroad/internal/httpserve"
	"postroad/internal/queue"
)

// statusReport is what GET /admin/v1/status answers.
type statusReport struct {
	Stamps []stampStatus `json:"stamps"`
	// Door is there where the process has one.
	Door any `json:"door,omitempty"`
}

type stampStatus struct {
	Name    string    `json:"name"`
	Region  string    `json:"region,omitempty"`
	Zone    string    `json:"zone,omitempty"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Gateway string    `json:"gateway"`
	// Accepting says whether a POST would be taken now; Refusing is why not.
	Accepting bool           `json:"accepting"`
	Refusing  string         `json:"refusing,omitempty"`
	Queue     queue.Status   `json:"queue"`
	Forward   forward.Status `json:"forward"`
	Hub       hubStatus      `json:"hub"`
}

type hubStatus struct {
	Brokers []string `json:"brokers"`
}

func (s *stamp) status() stampStatus {
	st := stampStatus{
		Name: s.settings.Stamp.Name, Region: s.settings.Stamp.Region, Zone: s.settings.Stamp.Zone,
		Version: s.version.Version, Started: s.started, Gateway: s.server.URL(), Accepting: true,
		Queue: s.queue.Status(), Forward: s.forward.Status(),
		Hub: hubStatus{Brokers: s.settings.Hub.Brokers},
	}
	if err := s.ready(); err != nil {
		st.Accepting, st.Refusing = false, err.Error()
	}
	return st
}

// mountStatus serves the status of the stamps, and of the door where there is
// one.
func mountStatus(admin *httpserve.Admin, stamps []*stamp, d *door.Door) {
	admin.Handle("GET /admin/v1/status", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var r statusReport
		for _, s := range stamps {
			r.Stamps = append(r.Stamps, s.status())
		}
		if d != nil {
			r.Door = d.Status()
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		// What is encoded holds nothing that JSON cannot, and an error of
		// writing is the reader's own.
		_ = json.NewEncoder(w).Encode(r)
	}))
}
