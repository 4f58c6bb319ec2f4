package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// baseURL checks an http address that a flag gave and takes its last slash.
func baseURL(flag, text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	req, err := http.NewRequest(http.MethodGet, text, nil)
	if err != nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return "", usagef("%s: %q: must be an address such as http://127.0.0.1:8080", flag, text)
	}
	if req.URL.RawQuery != "" || req.URL.Fragment != "" {
		return "", usagef("%s: %q: must not have a query or fragment", flag, text)
	}
	return strings.TrimRight(text, "/"), nil
}

// problemText is what an error answer says: title and detail of a problem, or
// the beginning of whatever came instead.
func problemText(h http.Header, body []byte) string {
	const most = 300
	if p := problemOf(h, body); p.Title != "" {
		return p.String()
	}
	text := printable(bytes.TrimSpace(body))
	if text == "" {
		return "no explanation"
	}
	return shorten(text, most)
}

// problemOf reads a problem, zero where the answer holds none.
func problemOf(h http.Header, body []byte) problem {
	var p problem
	if !strings.HasPrefix(h.Get("Content-Type"), "application/problem+json") || json.Unmarshal(body, &p) != nil {
		return problem{}
	}
	return p
}

// problem is an error answer of a gateway, by RFC 9457.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	// Line is the line of a batch that is at fault, from 1; 0 for none.
	Line int `json:"line"`
}

// String is the title and the detail, in one line.
func (p problem) String() string {
	if p.Detail == "" {
		return printable([]byte(p.Title))
	}
	return printable([]byte(p.Title + ": " + p.Detail))
}

// errStopped is the end of a command that a signal asked for before its work
// was done.
var errStopped = errors.New("interrupted")
