package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type doorCtl struct {
	Show    ctlShow    `cmd:"" help:"Show the origins and what the door thinks of them."`
	Drain   ctlDrain   `cmd:"" help:"Send an origin no new requests; its streams are moved at the configured rate."`
	Weight  ctlWeight  `cmd:"" help:"Give an origin a part of its share, in percent."`
	Hold    ctlHold    `cmd:"" help:"Keep an origin out, however healthy it is."`
	Release ctlRelease `cmd:"" help:"Take drain and hold back, and end an isolation that waits."`
	Events  ctlEvents  `cmd:"" help:"Show what changed, the newest first."`
}

// ctlFlags are the flags of every order.
type ctlFlags struct {
	Admin string `help:"Admin listener of the door (${default})." default:"http://127.0.0.1:9600" placeholder:"URL"`
	JSON  bool   `help:"Print answers as they came."`
}

// ctlTarget says which origin an order is for.
type ctlTarget struct {
	Origin string `arg:"" help:"Name of the origin, in every group that has one of that name; or GROUP/ORIGIN."`
	ctlFlags
}

// doorState is the answer of GET /door as this command reads it.
type doorState struct {
	Groups []doorGroup `json:"groups"`
}

// doorGroup is a group of origins that stand in for each other.
type doorGroup struct {
	Name    string       `json:"name"`
	Panic   bool         `json:"panic"`
	Stalled bool         `json:"stalled"`
	Origins []doorOrigin `json:"origins"`
	Budget  struct {
		Tokens  float64 `json:"tokens"`
		Posted  uint64  `json:"posted"`
		Spent   uint64  `json:"spent"`
		Refused uint64  `json:"refused"`
	} `json:"budget"`
}

// doorOrigin is an origin as the door sees it.
type doorOrigin struct {
	Name          string    `json:"name"`
	Priority      int       `json:"priority"`
	Weight        int       `json:"weight"`
	Percent       int       `json:"percent"`
	State         string    `json:"state"`
	Reason        string    `json:"reason"`
	Since         time.Time `json:"since"`
	Usable        bool      `json:"usable"`
	Ramp          float64   `json:"ramp"`
	IsolatedUntil time.Time `json:"isolated_until,omitzero"`
	ProbeSeconds  float64   `json:"probe_seconds"`
	InFlight      int       `json:"in_flight"`
	Streams       int       `json:"streams"`
	Answered      uint64    `json:"answered"`
	Failed        uint64    `json:"failed"`
	Said          doorSaid  `json:"said"`
}

// doorSaid is what an origin announces.
type doorSaid struct {
	Weight    *int    `json:"weight"`
	Fill      float64 `json:"fill"`
	Throttled bool    `json:"throttled"`
}

// doorEvent is a change of state.
type doorEvent struct {
	At time.Time `json:"at"`
	// Kind is state, panic, order or reload.
	Kind   string `json:"kind"`
	Group  string `json:"group"`
	Origin string `json:"origin"`
	From   string `json:"from"`
	To     string `json:"to"`
	Reason string `json:"reason"`
}

// control speaks with the admin listener of a door.
type control struct {
	base   string
	client *http.Client
}

func (f ctlFlags) control() (*control, error) {
	base, err := baseURL("--admin", f.Admin)
	if err != nil {
		return nil, err
	}
	return &control{base, &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}, nil
}

// call asks, and returns the body of an answer that is 200 to 299.
func (c *control) call(ctx context.Context, method, path string) ([]byte, error) {
	u := c.base + path
	req, err := http.NewRequestWithContext(ctx, method, u, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", u, err)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w (--admin names another address)", u, bare(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, statusLimit))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", u, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, fmt.Errorf("%s answered %s: %s", u, res.Status, problemText(res.Header, body))
	}
	return body, nil
}

// state asks for the state of the door, also as it came.
func (c *control) state(ctx context.Context) (doorState, []byte, error) {
	body, err := c.call(ctx, http.MethodGet, "/door")
	if err != nil {
		return doorState{}, nil, err
	}
	var s doorState
	if err := json.Unmarshal(body, &s); err != nil {
		return doorState{}, nil, fmt.Errorf("read the state of the door: %w", err)
	}
	return s, body, nil
}

// place is an origin of one group.
type place struct{ group, origin string }

// find returns the groups that have the origin meant.
func (s doorState) find(name string) ([]place, error) {
	group, origin, both := strings.Cut(name, "/")
	if !both {
		group, origin = "", name
	}
	var found []place
	var known []string
	for _, g := range s.Groups {
		for _, o := range g.Origins {
			known = append(known, g.Name+"/"+o.Name)
			if o.Name == origin && (group == "" || group == g.Name) {
				found = append(found, place{g.Name, o.Name})
			}
		}
	}
	if len(found) == 0 {
		return nil, usagef("%q: no such origin; there are %s", name, printable([]byte(strings.Join(known, ", "))))
	}
	return found, nil
}

// order gives an order for the origin in each of its groups, and shows what came
// of it.
func (t ctlTarget) order(ctx context.Context, out streams, verb string) error {
	c, err := t.control()
	if err != nil {
		return err
	}
	state, _, err := c.state(ctx)
	if err != nil {
		return err
	}
	places, err := state.find(t.Origin)
	if err != nil {
		return err
	}
	for _, p := range places {
		path := "/door/origins/" + url.PathEscape(p.group) + "/" + url.PathEscape(p.origin) + "/" + verb
		if _, err := c.call(ctx, http.MethodPost, path); err != nil {
			return err
		}
	}
	after, body, err := c.state(ctx)
	if err != nil {
		return fmt.Errorf("the order was taken, but what came of it is not known: %w", err)
	}
	if t.JSON {
		return printAnswer(out, body)
	}
	for _, g := range after.Groups {
		g.Origins = slices.DeleteFunc(g.Origins, func(o doorOrigin) bool { return !slices.Contains(places, place{g.Name, o.Name}) })
		for _, o := range g.Origins {
			fmt.Fprintf(out.out, "%s/%s: %s\n", printable([]byte(g.Name)), printable([]byte(o.Name)), doorStateText(o))
		}
	}
	return nil
}

func printAnswer(out streams, body []byte) error {
	_, err := out.out.Write(append(bytes.TrimSpace(body), '\n'))
	return err
}

type ctlShow struct {
	ctlFlags
}

// Run shows the state of a door.
func (c *ctlShow) Run(ctx context.Context, out streams) error {
	ctl, err := c.control()
	if err != nil {
		return err
	}
	state, body, err := ctl.state(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printAnswer(out, body)
	}
	_, err = io.WriteString(out.out, strings.Join(drawDoor(state, time.Now(), terminalOf(out.out)), "\n")+"\n")
	return err
}

type ctlDrain struct{ ctlTarget }

// Help says what happens.
func (c *ctlDrain) Help() string {
	return "Before a stamp is stopped or renewed: requests under way end, new ones go elsewhere, streams are moved at the rate of the settings." +
		" `release` takes it back; then its share grows by the ramp. The order is the door's own: give it to each door, and again after a door was restarted."
}

// Run drains an origin.
func (c *ctlDrain) Run(ctx context.Context, out streams) error { return c.order(ctx, out, "drain") }

type ctlHold struct{ ctlTarget }

// Help says what happens.
func (c *ctlHold) Help() string {
	return "Keeps an origin out until it is released, even where nothing else is usable. For a stamp that answers well and does harm."
}

// Run holds an origin.
func (c *ctlHold) Run(ctx context.Context, out streams) error { return c.order(ctx, out, "hold") }

type ctlRelease struct{ ctlTarget }

// Run releases an origin.
func (c *ctlRelease) Run(ctx context.Context, out streams) error { return c.order(ctx, out, "release") }

type ctlWeight struct {
	ctlTarget
	Percent int `arg:"" help:"Part of its usual share, 0 to 100."`
}

// Help says what happens.
func (c *ctlWeight) Help() string {
	return "To shift traffic from blue to green: give green 5, look, 50, look, 100; then blue 0." +
		" What the origins of one priority leave of a whole share goes to the next priority."
}

// Run sets the percentage of an origin.
func (c *ctlWeight) Run(ctx context.Context, out streams) error {
	if c.Percent < 0 || c.Percent > 100 {
		return usagef("%d: must be between 0 and 100", c.Percent)
	}
	return c.order(ctx, out, "weight?percent="+strconv.Itoa(c.Percent))
}

type ctlEvents struct {
	ctlFlags
	Limit int `help:"How many." default:"50" short:"n"`
}

// Run shows the events of a door.
func (c *ctlEvents) Run(ctx context.Context, out streams) error {
	if c.Limit < 1 {
		return usagef("--limit: %d: must be at least 1", c.Limit)
	}
	ctl, err := c.control()
	if err != nil {
		return err
	}
	body, err := ctl.call(ctx, http.MethodGet, "/door/events?limit="+strconv.Itoa(c.Limit))
	if err != nil {
		return err
	}
	var answer struct {
		Events []doorEvent `json:"events"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	if c.JSON {
		return printAnswer(out, body)
	}
	if len(answer.Events) == 0 {
		return writeLine(out.out, "nothing has changed since the door started")
	}
	now := time.Now()
	for _, e := range answer.Events {
		if err := writeLine(out.out, eventText(e, now)); err != nil {
			return err
		}
	}
	return nil
}

func writeLine(w io.Writer, line string) error {
	_, err := io.WriteString(w, line+"\n")
	return err
}
