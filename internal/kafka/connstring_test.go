package kafka

import (
	"strings"
	"testing"
)

const connText = "Endpoint=sb://plant.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0LWtleQ=="

func TestParseConnectionString(t *testing.T) {
	for name, tc := range map[string]struct{ text, broker, err string }{
		"as the portal shows it":  {connText, "plant.servicebus.windows.net:9093", ""},
		"a line break at its end": {connText + "\r\n", "plant.servicebus.windows.net:9093", ""},
		"of one event hub":        {connText + ";EntityPath=messages", "plant.servicebus.windows.net:9093", ""},
		"in other letter case":    {strings.Replace(connText, "Endpoint", "endpoint", 1), "plant.servicebus.windows.net:9093", ""},
		"emulator":                {"Endpoint=sb://localhost;SharedAccessKeyName=n;SharedAccessKey=v;UseDevelopmentEmulator=true;", "localhost:9092", ""},
		"empty":                   {" \n", "", "line 1: is empty"},
		"two lines":               {connText + "\n" + connText, "", "line 2: there must be one line only"},
		"no key":                  {"Endpoint=sb://plant/;SharedAccessKeyName=send", "", "line 1: has no SharedAccessKeyName or no SharedAccessKey"},
		"a signature":             {"Endpoint=sb://plant/;SharedAccessSignature=SharedAccessSignature sr=x", "", "line 1: holds a SharedAccessSignature, which the Kafka endpoint does not take"},
		"another scheme":          {strings.Replace(connText, "sb://", "https://", 1), "", "line 1: its Endpoint must be sb://"},
		"something else":          {"secret-password", "", "line 1: must be a connection string"},
		"a part twice":            {connText + ";SharedAccessKey=other", "", "line 1: must be a connection string"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := parseConnectionString([]byte(tc.text))
			if !strings.HasPrefix(errText(err), tc.err) || (err == nil) != (tc.err == "") || c.broker != tc.broker {
				t.Errorf("got %q, %v; want %q, %q", c.broker, err, tc.broker, tc.err)
			}
			if err == nil && (c.password != strings.TrimSpace(tc.text) || c.tls != (name != "emulator")) {
				t.Errorf("password %q, TLS %v", c.password, c.tls)
			}
			if strings.Contains(errText(err), "c2VjcmV0") || strings.Contains(errText(err), "secret-password") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func FuzzConnectionString(f *testing.F) {
	f.Add(connText)
	f.Add(connText + ";EntityPath=x")
	f.Add("Endpoint=sb://[::1]:1/;SharedAccessKeyName==;SharedAccessKey==")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConnectionString([]byte(text))
		if err == nil && (!validBroker(c.broker) || c.password == "" || strings.ContainsAny(c.password, "\r\n")) {
			t.Fatalf("%q gives %+v", text, c)
		}
	})
}
