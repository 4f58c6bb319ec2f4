package kafka

import (
	"net"
	"net/url"
	"strings"
)

// connectionString is what a connection string of Event Hubs says.
type connectionString struct {
	broker   string // host:port of the Kafka endpoint
	tls      bool
	password string // the whole string, which is what the Kafka endpoint takes
}

// connectionUser is the user under which a connection string is the password.
const connectionUser = "$ConnectionString"

const connectionForm = "must be a connection string as the portal shows it: " +
	"Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=NAME;SharedAccessKey=KEY"

// parseConnectionString reads a file with a connection string in its one line.
// Its errors show nothing of it.
func parseConnectionString(b []byte) (connectionString, error) {
	text := strings.TrimSpace(string(b))
	if text == "" {
		return connectionString{}, &lineError{1, "is empty; it " + connectionForm}
	}
	if i := strings.IndexAny(text, "\r\n"); i >= 0 {
		return connectionString{}, &lineError{2, "there must be one line only, which " + connectionForm}
	}
	parts := map[string]string{}
	for _, part := range strings.Split(text, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		// A key is base64 and may hold '='.
		name, value, ok := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := parts[name]; !ok || twice {
			return connectionString{}, &lineError{1, connectionForm}
		}
		parts[name] = strings.TrimSpace(value)
	}
	if _, sas := parts["sharedaccesssignature"]; sas {
		return connectionString{}, &lineError{1, "holds a SharedAccessSignature, which the Kafka endpoint does not take; it " + connectionForm}
	}
	if parts["sharedaccesskeyname"] == "" || parts["sharedaccesskey"] == "" {
		return connectionString{}, &lineError{1, "has no SharedAccessKeyName or no SharedAccessKey; it " + connectionForm}
	}
	u, err := url.Parse(parts["endpoint"])
	if err != nil || u.Scheme != "sb" || u.Hostname() == "" || u.User != nil {
		return connectionString{}, &lineError{1, "its Endpoint must be sb://NAMESPACE.servicebus.windows.net/; it " + connectionForm}
	}
	out := connectionString{tls: true, password: text, broker: net.JoinHostPort(u.Hostname(), eventHubsPort)}
	// The emulator speaks Kafka without TLS on a port of its own.
	if strings.EqualFold(parts["usedevelopmentemulator"], "true") {
		out.tls, out.broker = false, net.JoinHostPort(u.Hostname(), "9092")
	}
	return out, nil
}
