package gateway

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"postroad/internal/message"
)

const (
	structured = "Content-Type: " + typeEvent
	batched    = "Content-Type: " + typeEventBatch
	eventJSON  = `{"specversion":"1.0","id":"e 1","source":"/vans/17","type":"com.example.position","subject":"s",` +
		`"time":"2026-03-04T05:06:07.10Z","partitionkey":"van-17","count":5,"urgent":true,"gone":null,"data":{"lat": 52.0}}`
)

func binaryFields(more ...string) []string {
	return append([]string{
		"Ce-Specversion: 1.0", "Ce-Id: e%201", "Ce-Source: /vans/17", "Ce-Type: com.example.position", "Ce-Subject: s",
		"Ce-Time: 2026-03-04T05:06:07.10Z", "Ce-Partitionkey: van-17", "Ce-Count: 5", "Ce-Urgent: true", "Content-Type: application/json",
	}, more...)
}

// TestCloudEventModes: an event is the same message in binary, structured and
// batched mode, laid out as the Kafka binding says.
func TestCloudEventModes(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.post("/v1/topics/t/messages", `{"lat": 52.0}`, binaryFields("Idempotency-Key: one")...), http.StatusAccepted)
	r.want(r.post("/v1/topics/t/messages", eventJSON, structured), http.StatusAccepted)
	r.want(r.post("/v1/topics/t/messages", "["+strings.Replace(eventJSON, "e 1", "e 2", 1)+","+eventJSON+"]", batched, "Idempotency-Key: two"), http.StatusAccepted)
	all := r.store.all()
	if len(all) != 4 {
		t.Fatalf("%d messages are stored", len(all))
	}
	want := []message.Header{
		{Name: "ce_count", Value: []byte("5")},
		{Name: "ce_id", Value: []byte("e 1")},
		{Name: "ce_partitionkey", Value: []byte("van-17")},
		{Name: "ce_source", Value: []byte("/vans/17")},
		{Name: "ce_specversion", Value: []byte("1.0")},
		{Name: "ce_subject", Value: []byte("s")},
		{Name: "ce_time", Value: []byte("2026-03-04T05:06:07.10Z")},
		{Name: "ce_type", Value: []byte("com.example.position")},
		{Name: "ce_urgent", Value: []byte("true")},
		{Name: "content-type", Value: []byte("application/json")},
	}
	same := func(x, y message.Header) bool { return x.Name == y.Name && string(x.Value) == string(y.Value) }
	for _, i := range []int{0, 1, 3} {
		m := all[i]
		if !slices.EqualFunc(m.Headers, want, same) {
			t.Errorf("message %d: headers %v, want %v", i, headersOf(m.Message), want)
		}
		if string(m.Key) != "van-17" || string(m.Value) != `{"lat": 52.0}` {
			t.Errorf("message %d: key %q value %q", i, m.Key, m.Value)
		}
		if m.ID != all[0].ID || m.Digest != all[0].Digest {
			t.Errorf("message %d has id %v, the first has %v", i, m.ID, all[0].ID)
		}
	}
	if all[2].ID == all[0].ID {
		t.Error("two events share an id")
	}
	if all[0].KeyHash.IsZero() || !all[1].KeyHash.IsZero() || all[3].KeyHash.IsZero() {
		t.Error("the hash of the request's key belongs on messages of client keys, and on no others")
	}
}

func TestCloudEventData(t *testing.T) {
	const head = `{"specversion":"1.0","id":"1","source":"s","type":"t"`
	for _, c := range []struct{ name, rest, contentType, value string }{
		{"no data", ``, "", ""},
		{"no data with type", `,"datacontenttype":"text/plain"`, "text/plain", ""},
		{"JSON string", `,"data":"a\n"`, "application/json", `"a\n"`},
		{"JSON null", `,"data":null`, "application/json", `null`},
		{"JSON spacing", `,"data":[ 1 , 2 ]`, "application/json", `[ 1 , 2 ]`},
		{"other JSON type", `,"datacontenttype":"application/vnd.x+json","data":5`, "application/vnd.x+json", "5"},
		{"text", `,"datacontenttype":"text/plain; charset=utf-8","data":"a\n\u00e9"`, "text/plain; charset=utf-8", "a\né"},
		{"text after data", `,"data":"a","datacontenttype":"text/plain"`, "text/plain", "a"},
		{"base64", `,"data_base64":"AP8="`, "", "\x00\xff"},
		{"base64 with type", `,"datacontenttype":"image/png","data_base64":"AP8="`, "image/png", "\x00\xff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			r.want(r.post("/v1/topics/t/messages", head+c.rest+"}", structured), http.StatusAccepted)
			m := r.one()
			if string(m.Value) != c.value || headersOf(m.Message)["content-type"] != c.contentType {
				t.Errorf("value %q, headers %v", m.Value, headersOf(m.Message))
			}
		})
	}
}

func TestCloudEventFieldEncoding(t *testing.T) {
	for field, want := range map[string]string{
		"a%20b%C3%A9": "a bé", "100%": "100%", "%zz": "%zz", `"quoted \"x\" %41"`: `quoted "x" A`, `"`: `"`, "": "", "%4": "%4",
	} {
		if got := fieldText(field); got != want {
			t.Errorf("%q gives %q, want %q", field, got, want)
		}
	}
}

// TestCloudEventKeyFallsBack: the key of the request is that of events without
// a partitionkey.
func TestCloudEventKeyFallsBack(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.post("/v1/topics/t/messages?key=req", `[{"specversion":"1.0","id":"1","source":"s","type":"t"},`+eventJSON+`]`, batched), http.StatusAccepted)
	all := r.store.all()
	if string(all[0].Key) != "req" || string(all[1].Key) != "van-17" {
		t.Errorf("keys %q, %q", all[0].Key, all[1].Key)
	}
}

func TestCloudEventRefusals(t *testing.T) {
	event := func(member string) string {
		return `{"specversion":"1.0","id":"1","source":"s","type":"t"` + member + `}`
	}
	for _, c := range []struct {
		name, body, contentType, detail string
	}{
		{"no id", `{"specversion":"1.0","source":"s","type":"t"}`, structured, "attribute id"},
		{"empty source", `{"specversion":"1.0","id":"1","source":"","type":"t"}`, structured, "attribute source"},
		{"no version", `{"id":"1","source":"s","type":"t"}`, structured, `specversion is \"\"`},
		{"old version", `{"specversion":"0.3","id":"1","source":"s","type":"t"}`, structured, `specversion is \"0.3\"; must be \"1.0\"`},
		{"bad time", event(`,"time":"yesterday"`), structured, `attribute time: \"yesterday\" must be a time`},
		{"empty time", event(`,"time":""`), structured, "attribute time"},
		{"bad schema", event(`,"dataschema":"%zz"`), structured, "attribute dataschema"},
		{"bad source", `{"specversion":"1.0","id":"1","source":"%zz","type":"t"}`, structured, "attribute source"},
		{"bad content type", event(`,"datacontenttype":"no type"`), structured, "attribute datacontenttype"},
		{"empty subject", event(`,"subject":""`), structured, "attribute subject"},
		{"upper case", event(`,"Extra":"x"`), structured, `attribute \"Extra\": names are of lower-case letters and digits`},
		{"underscore", event(`,"my_ext":"x"`), structured, "names are of lower-case letters"},
		{"float", event(`,"ext":1.5`), structured, "1.5 is not an integer of 32 bits"},
		{"large integer", event(`,"ext":2147483648`), structured, "not an integer of 32 bits"},
		{"object", event(`,"ext":{}`), structured, "is an object; must be a string, a boolean or an integer"},
		{"number for data_base64", event(`,"data_base64":1`), structured, "data_base64 is a number"},
		{"bad base64", event(`,"data_base64":"a"`), structured, "data_base64"},
		{"both", event(`,"data":1,"data_base64":"AA=="`), structured, "both data and data_base64"},
		{"object as text", event(`,"datacontenttype":"text/plain","data":{}`), structured, "wants a string or data_base64"},
		{"twice", event(`,"id":"2"`), structured, `member \"id\" is there twice`},
		{"empty key", event(`,"partitionkey":""`), structured, "partitionkey is empty"},
		{"control character", event(`,"ext":"a\u0000"`), structured, "control character U+0000"},
		{"long id", `{"specversion":"1.0","id":"` + strings.Repeat("i", 1024) + `","source":"s","type":"t"}`, structured, "more than 1024 bytes"},
		{"array", "[]", structured, "an array at byte 0, where an object is wanted"},
		{"empty", "", structured, "the JSON text ends early"},
		{"more", event("") + event(""), structured, "more text after the JSON value"},
		{"no batch", event(""), batched, "an object at byte 0, where an array is wanted"},
		{"empty batch", "[]", batched, "the batch holds no event"},
		{"second event", "[" + event("") + `,{"id":"1"}]`, batched, "event 2: "},
		{"second event is no event", "[" + event("") + `,5]`, batched, "event 2: a number at byte"},
		{"cut off batch", "[" + event(""), batched, "event 2: invalid JSON"},
		{"charset", event(""), structured + "; charset=utf-16", "JSON is UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.post("/v1/topics/t/messages", c.body, c.contentType)
			status := http.StatusBadRequest
			if c.name == "charset" {
				status = http.StatusUnsupportedMediaType
			}
			r.want(a, status, c.detail)
			if strings.HasPrefix(c.name, "second") && !strings.Contains(a.body, `"event":2`) {
				t.Errorf("the problem names no event: %s", a.body)
			}
			if len(r.store.all()) != 0 {
				t.Error("something is stored")
			}
		})
	}
	for _, c := range []struct {
		name   string
		fields []string
		detail string
	}{
		{"only an id", []string{"Ce-Id: 1"}, "specversion"},
		{"no type", []string{"Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Source: s"}, "attribute type"},
		{"two ids", []string{"Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Id: 2", "Ce-Source: s", "Ce-Type: t"}, "Ce-Id is there 2 times"},
		{"encoded control character", []string{"Ce-Specversion: 1.0", "Ce-Id: a%00", "Ce-Source: s", "Ce-Type: t"}, "control character U+0000"},
		{"not UTF-8", []string{"Ce-Specversion: 1.0", "Ce-Id: %ff", "Ce-Source: s", "Ce-Type: t"}, "is not UTF-8"},
		{"name with dash", []string{"Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Source: s", "Ce-Type: t", "Ce-My-Ext: 1"}, "names are of lower-case letters"},
	} {
		t.Run("binary/"+c.name, func(t *testing.T) {
			r := newRig(t, nil)
			r.want(r.post("/v1/topics/t/messages", "x", c.fields...), http.StatusBadRequest, c.detail)
		})
	}
}

func TestTooManyEvents(t *testing.T) {
	r := newRig(t, func(o *Options, _ *Deps) { o.Batch.MaxMessages = 2 })
	one := `{"specversion":"1.0","id":"1","source":"s","type":"t"}`
	r.want(r.post("/v1/topics/t/messages", "["+one+","+one+"]", batched), http.StatusAccepted)
	r.want(r.post("/v1/topics/t/messages", "["+one+","+one+","+one+"]", batched), http.StatusRequestEntityTooLarge, "batch.max_messages")
}

// FuzzEvents feeds both JSON forms. What is accepted is valid for the SDK, and
// every value stands in the body or was decoded from it.
func FuzzEvents(f *testing.F) {
	for _, seed := range []string{
		eventJSON, "[" + eventJSON + "]", "{}", "[]", `[{"data_base64":1}]`, `{"specversion":"1.0","id":"1","source":"s","type":"t","time":"2026-01-01T00:00:00Z"}`,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, src []byte, many bool) {
		var b batch
		r := new(jsonReader)
		r.reset(src)
		var err error
		if many {
			err = b.readEvents(r, nil, 100)
		} else {
			err = b.readEvent(r, nil)
		}
		if err != nil {
			mustRefuse(t, err)
			return
		}
		for i := range b.msgs {
			m := &b.msgs[i]
			h := headersOf(*m)
			if h["ce_specversion"] != event.CloudEventsVersionV1 || h["ce_id"] == "" || h["ce_source"] == "" || h["ce_type"] == "" || m.Value == nil {
				t.Fatalf("accepted %v", h)
			}
			for name, value := range h {
				if checkText(name, []byte(value)) != nil {
					t.Fatalf("accepted header %s of %q", name, value)
				}
			}
		}
	})
}

// FuzzBinaryEvent feeds header fields.
func FuzzBinaryEvent(f *testing.F) {
	f.Add("1.0", "id", "/source", "type", "2026-01-01T00:00:00Z", "text/plain", "ext", "value")
	f.Add("1.0", "%41", `"a\"b"`, "%", "", "a/b; c", "dataschema", "http://a")
	f.Fuzz(func(t *testing.T, version, id, source, kind, at, contentType, name, value string) {
		h := http.Header{
			"Ce-Specversion": {version}, "Ce-Id": {id}, "Ce-Source": {source}, "Ce-Type": {kind}, "Ce-Time": {at},
			"Content-Type": {contentType}, "Ce-" + name: {value},
		}
		attributes, err := eventAttributes(h)
		var b batch
		if err == nil {
			err = b.addEvent(attributes, []byte{}, nil)
		}
		if err != nil {
			mustRefuse(t, err)
			return
		}
		for name, value := range headersOf(b.msgs[0]) {
			if checkText(name, []byte(value)) != nil {
				t.Fatalf("accepted header %s of %q", name, value)
			}
		}
	})
}

// mustRefuse checks that err is worded for the client and blames the input.
func mustRefuse(t *testing.T, err error) {
	t.Helper()
	_, ok := errors.AsType[*refusal](err)
	if !ok || !errors.Is(err, message.ErrInvalid) && !errors.Is(err, message.ErrTooLarge) {
		t.Fatalf("%v (%T) is no refusal of the input", err, err)
	}
}
