package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptPatience is how long a script waits for something.
const scriptPatience = 30 * time.Second

// awaitNode waits until the stream node that writes its addresses to a file is
// ready, and tells the script where it is: NODE and ADMIN.
func awaitNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: node FILE")
	}
	var a struct {
		Admin   string
		Streams map[string]string
	}
	file := ts.MkAbs(args[0])
	ts.Check(soon("the addresses of a node", func() error {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &a)
	}))
	for _, url := range a.Streams {
		ts.Setenv("NODE", url)
		ts.Check(soon("the node to be ready", func() error { return read(io.Discard, url+"/healthz", -1) }))
	}
	ts.Setenv("ADMIN", a.Admin)
}

// soon tries until there is no error, for a while.
func soon(what string, try func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(scriptPatience); ; <-tick.C {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited for %s: %w", what, err)
		}
	}
}

// readURL writes what is at a URL, or the first lines of it, to the script's file.
func readURL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: read FILE URL [LINES]")
	}
	lines := -1
	if len(args) == 3 {
		var err error
		lines, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	var b strings.Builder
	ts.Check(read(&b, args[1], lines))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

func read(to io.Writer, url string, lines int) error {
	client := http.Client{Timeout: scriptPatience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	for in := bufio.NewScanner(res.Body); lines != 0 && in.Scan(); lines-- {
		fmt.Fprintln(to, in.Text())
	}
	return nil
}
