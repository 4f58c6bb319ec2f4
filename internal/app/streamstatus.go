package app

import "time"

// streamStatus is a stream node as GET /admin/v1/status shows it.
type streamStatus struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// URL is where clients on this machine reach it.
	URL    string   `json:"url"`
	Topics []string `json:"topics"`
	// Ready says whether clients should be sent here; Refusing is why not.
	Ready       bool   `json:"ready"`
	Refusing    string `json:"refusing,omitempty"`
	Connections int    `json:"connections"`
}

func (n *streamNode) status() streamStatus {
	s := streamStatus{
		Name: n.name, Version: n.version, Started: n.started, URL: n.server.URL(),
		Topics: n.node.Topics(), Ready: true, Connections: n.node.Connections(),
	}
	if err := n.node.Ready(); err != nil {
		s.Ready, s.Refusing = false, err.Error()
	}
	return s
}
