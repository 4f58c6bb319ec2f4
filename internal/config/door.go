package config

import (
	"fmt"

	"postroad/internal/door"
	"postroad/internal/httpserve"
	"postroad/internal/telemetry"
)

// Door are the settings of "postroad door": those of a front door's parts, a
// section each.
type Door struct {
	// HTTP is the listener that clients reach the door at.
	HTTP httpserve.EdgeOptions `yaml:"http"`
	// Door is what stands behind it, and how a request is brought there.
	Door door.Options `yaml:"door"`
	// Admin is the listener for operators: probes, metrics, state of the origins,
	// and the orders of "postroad door ctl". Whoever reaches it can take stamps out.
	Admin httpserve.AdminOptions `yaml:"admin"`
	// Log says what is logged to standard error, and how.
	Log telemetry.LogOptions `yaml:"log"`
}

// DefaultDoor are the settings of a front door before anything is said: clients
// reach it at port 8080 of every interface, operators from the machine itself.
func DefaultDoor() Door {
	d := Door{
		HTTP:  httpserve.DefaultEdgeOptions(),
		Door:  door.DefaultOptions(),
		Admin: httpserve.DefaultAdminOptions(),
		Log:   telemetry.DefaultLogOptions(),
	}
	d.HTTP.Listen = ":8080"
	return d
}

// Warnings are what is allowed and still hardly meant, a line each.
func (d Door) Warnings() []string {
	var all []string
	for _, w := range d.Door.Warnings() {
		all = append(all, "door: "+w)
	}
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	c := d.HTTP.Clients
	if c.Connections > 0 && c.ConnectionsPerAddress > c.Connections {
		warn("http.clients.connections_per_address: %d: above http.clients.connections, %d: has no effect", c.ConnectionsPerAddress, c.Connections)
	}
	if c.BodyTimeout == 0 && c.BodyRate > 0 {
		warn("http.clients.body_rate: %d: has no effect without http.clients.body_timeout", c.BodyRate)
	}
	if c.Connections == 0 && c.ConnectionsPerAddress == 0 {
		warn("http.clients: no limit of connections: clients can use up all open files")
	}
	if s := d.Door.Limits.Streams; c.Connections > 0 && s > c.Connections && s != door.DefaultOptions().Limits.Streams {
		warn("door.limits.streams: %d: above http.clients.connections, %d: so many WebSockets cannot be", s, c.Connections)
	}
	if d.HTTP.TLS.Enabled() && d.HTTP.TLS.ClientAuth == httpserve.ClientAuthRequire && len(d.Door.TrustedProxies) > 0 {
		warn("http.tls.client_auth: require: is asked of the trusted proxies, not of the clients before them")
	}
	return all
}
