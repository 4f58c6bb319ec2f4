package app_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/internal/app"
)

// deadAnswer is what the tests read of an answer about dead letters.
type deadAnswer struct {
	Letters []struct {
		ID, Stands, State, Topic, Reason, Stamp string
	}
	Before []struct{ State string } `json:"marked_before"`
	More   bool
	Type   string // of a problem
	Detail string
}

func postDead(t *testing.T, h half, verb, body string) (int, deadAnswer) {
	t.Helper()
	resp, err := http.Post(h.Admin+"/admin/v1/dead/"+verb, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a deadAnswer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, a
}

func getDead(t *testing.T, h half, query string) (int, deadAnswer) {
	t.Helper()
	code, body := get(t, h.Admin+"/admin/v1/dead"+query)
	var a deadAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return code, a
}

// mixedQueue is a queue directory with two open dead letters, of four.
func mixedQueue(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "queue")
	if err := os.CopyFS(dir, os.DirFS("../queue/testdata/mixed")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAdminDead(t *testing.T) {
	for name, run := range map[string]runner{"gateway": app.RunGateway, "forwarder": app.RunForward} {
		t.Run(name, func(t *testing.T) {
			h := startHalf(t, run, halfSettings(mixedQueue(t), "127.0.0.1:1"))
			defer func() {
				if err := h.stop(); err != nil {
					t.Error(err)
				}
			}()
			checkAdminDead(t, h)
		})
	}
}

func checkAdminDead(t *testing.T, h half) {
	code, list := getDead(t, h, "")
	if code != http.StatusOK || len(list.Letters) != 2 || list.More || list.Letters[0].State != "open" || list.Letters[0].Stamp != "onprem" {
		t.Fatalf("list: %d %+v", code, list)
	}
	if _, all := getDead(t, h, "?marked=true&limit=3"); len(all.Letters) != 3 || !all.More {
		t.Errorf("three of all: %+v", all)
	}
	if _, none := getDead(t, h, "?topic=alarms"); len(none.Letters) != 0 {
		t.Errorf("of another topic: %+v", none)
	}
	first, second := list.Letters[0], list.Letters[1]
	for range 2 { // the second time it was done before
		code, done := postDead(t, h, "release", `{"ids":["`+first.ID+`"]}`)
		if code != http.StatusOK || len(done.Letters)+len(done.Before) != 1 {
			t.Fatalf("release: %d %+v", code, done)
		}
	}
	if code, done := postDead(t, h, "discard", `{"ids":["`+second.Stands+`"],"stamp":"onprem"}`); code != http.StatusOK || len(done.Letters) != 1 || done.Letters[0].State != "discarded" {
		t.Errorf("discard: %d %+v", code, done)
	}
	if _, list := getDead(t, h, ""); len(list.Letters) != 0 {
		t.Errorf("left: %+v", list)
	}
	for _, bad := range []struct {
		body, kind string
		code       int
	}{
		{`{}`, "bad-request", 400},
		{`{"all":true,"topic":"orders"}`, "bad-request", 400},
		{`{"all":true,"stamp":"cloud"}`, "bad-request", 400},
		{`{"al":true}`, "bad-request", 400},
		{`{"ids":["x"]}`, "bad-request", 400},
		{`{"ids":["00000000-0000-8000-8000-000000000000"]}`, "not-found", 404},
	} {
		if code, a := postDead(t, h, "release", bad.body); code != bad.code || a.Type != "urn:postroad:problem:"+bad.kind || a.Detail == "" {
			t.Errorf("%s: %d %+v", bad.body, code, a)
		}
	}
	if code, a := getDead(t, h, "?limit=0"); code != http.StatusBadRequest || a.Type == "" {
		t.Errorf("limit 0: %d %+v", code, a)
	}
}
