package policy

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseAnnouncement(t *testing.T) {
	n := func(i int) *int { return &i }
	for _, tc := range []struct {
		body string
		want Announcement
		bad  bool
	}{
		{body: ""},
		{body: "OK"},
		{body: "[1]"},
		{body: "\"drain\""},
		{body: `{"status":"ok","stamp":"onprem"}`},
		{body: `{"type":"about:blank","status":503,"title":"x","drain":true}`, want: Announcement{Drain: true}},
		{body: " \n{\"weight\":0}\n", want: Announcement{Weight: n(0)}},
		{body: `{"weight":100,"fill":0.5,"throttled":true,"maintenance":true}`, want: Announcement{Weight: n(100), Fill: 0.5, Throttled: true, Maintenance: true}},
		{body: `{"weight":null}`},
		{body: `{"weight":101,"drain":true}`, bad: true},
		{body: `{"weight":-1}`, bad: true},
		{body: `{"weight":50.5}`, bad: true},
		{body: `{"weight":"50"}`, bad: true},
		{body: `{"fill":1.01,"drain":true}`, bad: true},
		{body: `{"fill":-0.01}`, bad: true},
		{body: `{"fill":1e999}`, bad: true},
		{body: `{"drain":"yes"}`, bad: true},
		{body: `{"drain":true`, bad: true},
		{body: `{"drain":true}{"drain":false}`, bad: true},
		{body: `{"drain":true,"x":"` + strings.Repeat("y", MaxAnnouncement) + `"}`, bad: true},
	} {
		got, err := ParseAnnouncement([]byte(tc.body))
		if tc.bad != (err != nil) || tc.bad && !errors.Is(err, ErrAnnouncement) {
			t.Errorf("%.60q: error %v, want one: %t", tc.body, err, tc.bad)
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%.60q: %+v, want %+v", tc.body, got, tc.want)
		}
	}
}

func FuzzParseAnnouncement(f *testing.F) {
	for _, s := range []string{`{"weight":10,"drain":true,"fill":0.1}`, `{"weight":1e3}`, `{"fill":-0}`, `{"Weight":5,"weight":7}`, "OK", "{", `{"maintenance":true,"throttled":true}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := ParseAnnouncement(body)
		if err != nil {
			if !errors.Is(err, ErrAnnouncement) {
				t.Errorf("error %v", err)
			}
			if !reflect.DeepEqual(a, Announcement{}) {
				t.Errorf("an error, and still %+v", a)
			}
			return
		}
		if p := a.percent(); p < 0 || p > 100 || !(a.Fill >= 0 && a.Fill <= 1) {
			t.Errorf("%d %%, fill %v", p, a.Fill)
		}
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseAnnouncement(b)
		if err != nil || !reflect.DeepEqual(a, again) {
			t.Errorf("%+v, then %+v, %v", a, again, err)
		}
	})
}
