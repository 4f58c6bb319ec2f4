package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"postroad/internal/auth"
	"postroad/internal/config"
	"postroad/internal/stream/live"
	"postroad/internal/telemetry"
)

type authCommand struct {
	Explain authExplain `cmd:"" help:"Say what a caller may do, and why."`
}

type authExplain struct {
	whoseFlags
	Token     string   `help:"The caller's token. Other users of the machine may see it: see --token-file." placeholder:"JWT" xor:"who"`
	TokenFile string   `help:"File with the caller's token; - is standard input." placeholder:"FILE" xor:"who"`
	As        string   `help:"Name of a caller, whatever its token would take away." placeholder:"NAME" xor:"who"`
	Subjects  []string `arg:"" name:"subject" help:"What is asked about: topic/key, topic/*, topic/*@N."`
}

// Help says what is asked.
func (c *authExplain) Help() string {
	return "Judges a token, or a caller without one, by the settings of a stream node (its section auth) or of a gateway (gateway.auth), as these would," +
		" and says for each subject whether it may be read and published to, which policy grants it, and what stands against it." +
		" Exit code 0 if it could be told, 1 if the token is not good, 2 for wrong settings."
}

// Run explains.
func (c *authExplain) Run(ctx context.Context, std streams) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	subjects := make([]live.Subject, len(c.Subjects))
	for i, name := range c.Subjects {
		if subjects[i], err = live.ParseSubject(name); err != nil {
			return &usageError{err}
		}
	}
	p, err := c.principal(ctx, options, std)
	if err != nil {
		return err
	}
	return explain(std.out, p, subjects)
}

// options are the settings of whichever process the file is of.
func (c *authExplain) options() (auth.Options, error) {
	of := c.For
	if of == "" {
		node, err := config.HasSection(c.Config, "stream")
		if err != nil {
			return auth.Options{}, &usageError{err}
		}
		if node {
			of = "stream"
		}
	}
	if of == "stream" {
		settings, _, err := c.loadStream()
		return settings.Auth, err
	}
	settings, _, err := c.loadStamp()
	if err == nil && !settings.Gateway.Auth.Enabled {
		return auth.Options{}, usagef("gateway.auth.enabled is false: anybody may publish anything")
	}
	return settings.Gateway.Auth.Options, err
}

// principal is who the command asks about.
func (c *authExplain) principal(ctx context.Context, o auth.Options, std streams) (*auth.Principal, error) {
	log, err := telemetry.NewLogger(std.err, telemetry.LogOptions{Level: "error", Format: "auto"})
	if err != nil {
		return nil, err
	}
	v, err := auth.NewVerifier(o, auth.Deps{Log: log})
	if err != nil {
		return nil, &usageError{err}
	}
	token := c.Token
	switch {
	case c.As != "":
		if p, ok := v.Named(c.As); ok {
			return p, nil
		}
	case c.TokenFile != "":
		if token, err = readToken(c.TokenFile, std.in); err != nil {
			return nil, err
		}
	}
	if token != "" {
		return v.Verify(ctx, token)
	}
	if p, ok := v.Anonymous(); ok {
		return p, nil
	}
	return nil, fmt.Errorf("%w was given, and callers without one are not let in", auth.ErrNoToken)
}

// readToken reads the token that a file holds.
func readToken(file string, stdin io.Reader) (string, error) {
	if file == "-" {
		b, err := io.ReadAll(io.LimitReader(stdin, 1<<16))
		return strings.TrimSpace(string(b)), err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// explain writes what a principal may do with subjects.
func explain(out io.Writer, p *auth.Principal, subjects []live.Subject) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	name := p.Name
	if p.Anonymous {
		name += " (without a token)"
	}
	fmt.Fprintf(w, "caller\t%s\n", name)
	if !p.Expires.IsZero() {
		fmt.Fprintf(w, "until\t%s\n", p.Expires.UTC().Format(time.RFC3339))
	}
	if len(p.Channels) > 0 {
		fmt.Fprintf(w, "subscribed\t%s\n", strings.Join(p.Channels, " "))
	}
	for _, s := range subjects {
		subject := s.String()
		fmt.Fprintf(w, "read\t%s\t%s\t%s\n", subject, yesOrNo(p.MayRead(subject)), p.Read.Explain(subject))
		if s.All {
			fmt.Fprintf(w, "publish\t%s\tno\ta message has one key\n", subject)
			continue
		}
		fmt.Fprintf(w, "publish\t%s\t%s\t%s\n", subject, yesOrNo(p.MayPublish(subject)), p.Publish.Explain(subject))
	}
	return w.Flush()
}

func yesOrNo(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}
