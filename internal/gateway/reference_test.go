package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"postroad/internal/message"
)

const (
	referenceDir = "../../docs/reference"
	generated    = "<!-- Generated from internal/gateway by: go test ./internal/gateway -update -->\n\n"
)

// TestProblemTable: every sentinel has its row, whatever it is wrapped in, and
// what matches none is internal. Of two classes the one that promises less
// wins.
func TestProblemTable(t *testing.T) {
	g := &Gateway{problems: problemTable()}
	for cause, want := range map[error]string{
		message.ErrOutcomeUnknown: "outcome-unknown 504", message.ErrFull: "insufficient-storage 507", message.ErrNotStored: "unavailable 503",
		message.ErrTooLarge: "too-large 413", message.ErrInvalid: "bad-request 400", message.ErrNotFound: "not-found 404", errUnavailable: "unavailable 503",
		errMethod: "method-not-allowed 405", errForbidden: "forbidden 403", errUnauthorized: "unauthorized 401", errKeyBusy: "conflict 409", errKeyReused: "key-reused 422",
		errNoLength: "length-required 411", errMediaType: "unsupported-media-type 415", errHeaders: "headers-too-large 431", errSlowBody: "timeout 408",
		errTooMany: "too-many-requests 429", errDisk: "internal 500",
		errors.Join(message.ErrNotStored, message.ErrOutcomeUnknown): "outcome-unknown 504",
	} {
		p := g.problem(fmt.Errorf("act: %w", cause))
		if got := fmt.Sprint(p.Name, " ", p.Status); got != want || p.Detail == "" || p.Title == "" || strings.Contains(p.Detail, "act") {
			t.Errorf("%v: %s, %+v; want %s", cause, got, p, want)
		}
		p = g.problem(fmt.Errorf("act: %w", refuse(cause, "own words").with("line", 3)))
		if got := fmt.Sprint(p.Name, " ", p.Status); got != want || p.Detail != "own words" || p.Extra["line"] != 3 {
			t.Errorf("refused for %v: %+v", cause, p)
		}
	}
	last := g.problems[len(g.problems)-1]
	if !errors.Is(last.cause, errInternal) {
		t.Error("the last row answers what matches none")
	}
}

// TestHTTPReferenceIsCurrent makes docs/reference/http.md from openapi.yaml.
func TestHTTPReferenceIsCurrent(t *testing.T) {
	doc := loadOpenAPI(t)
	source, err := os.ReadFile("web/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# The gateway's HTTP interface\n\n" + generated +
		"The same, with a form to try it out, is served at `/docs`; for programs at `/openapi.json`. Problems are listed in [problems.md](problems.md).\n\n")
	b.WriteString(strings.TrimSpace(doc.Info.Description) + "\n")
	paths := slices.Collect(maps.Keys(doc.Paths.Map()))
	slices.SortFunc(paths, func(x, y string) int {
		return strings.Index(string(source), "\n  "+x+":") - strings.Index(string(source), "\n  "+y+":")
	})
	for _, path := range paths {
		operations := doc.Paths.Value(path).Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			writeOperation(&b, method, path, operations[method])
		}
	}
	b.WriteString("\n## Schemas\n")
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		schema := doc.Components.Schemas[name].Value
		if len(schema.Properties) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n", name)
		if schema.Description != "" {
			fmt.Fprintf(&b, "%s\n\n", schema.Description)
		}
		b.WriteString("| member | type | meaning |\n|---|---|---|\n")
		for _, member := range slices.Sorted(maps.Keys(schema.Properties)) {
			required := ""
			if slices.Contains(schema.Required, member) {
				required = ", required"
			}
			p := schema.Properties[member]
			fmt.Fprintf(&b, "| `%s` | %s%s | %s |\n", member, typeName(p), required, cell(p.Value.Description))
		}
	}
	current(t, filepath.Join(referenceDir, "http.md"), []byte(b.String()))
}

func writeOperation(b *strings.Builder, method, path string, o *openapi3.Operation) {
	fmt.Fprintf(b, "\n## %s %s\n\n%s.\n", method, path, strings.TrimSuffix(o.Summary, "."))
	if o.Description != "" {
		fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(o.Description))
	}
	if len(o.Parameters) > 0 {
		b.WriteString("\n| parameter | in | meaning |\n|---|---|---|\n")
		for _, p := range o.Parameters {
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", p.Value.Name, p.Value.In, cell(p.Value.Description))
		}
	}
	if o.RequestBody != nil {
		writeContent(b, "Body", o.RequestBody.Value.Content)
	}
	responses := o.Responses.Map()
	var problems []string
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		r := responses[status].Value
		if status >= "300" {
			problems = append(problems, status)
			continue
		}
		fmt.Fprintf(b, "\n**%s** %s\n", status, cell(*r.Description))
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			fmt.Fprintf(b, "- header `%s`: %s\n", name, cell(r.Headers[name].Value.Description))
		}
		writeContent(b, "Answer", r.Content)
	}
	if len(problems) > 0 {
		fmt.Fprintf(b, "\nProblems: %s.\n", strings.Join(problems, ", "))
	}
}

func writeContent(b *strings.Builder, what string, content openapi3.Content) {
	for _, kind := range slices.Sorted(maps.Keys(content)) {
		media := content[kind]
		fmt.Fprintf(b, "\n%s `%s`", what, kind)
		if name := typeName(media.Schema); media.Schema != nil && name != "any JSON" {
			fmt.Fprintf(b, ": %s", name)
		}
		b.WriteByte('\n')
		switch example := media.Example.(type) {
		case nil:
		case string:
			fmt.Fprintf(b, "\n```\n%s\n```\n", strings.TrimSpace(example))
		default:
			text, err := json.MarshalIndent(example, "", "  ")
			if err != nil {
				text = []byte(err.Error()) // an example that came from JSON goes back to it
			}
			fmt.Fprintf(b, "\n```json\n%s\n```\n", text)
		}
	}
}

// typeName names a schema as in the text: its own name or its type.
func typeName(s *openapi3.SchemaRef) string {
	if s == nil {
		return "any JSON"
	}
	if name := filepath.Base(s.Ref); s.Ref != "" {
		return name
	}
	if s.Value.Items != nil {
		return "array of " + typeName(s.Value.Items)
	}
	if s.Value.Type == nil || len(*s.Value.Type) == 0 {
		return "any JSON"
	}
	return strings.Join(*s.Value.Type, " or ")
}

// cell makes a text fit into a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}

// TestEveryRouteIsDescribed: the description has each path that is served, and
// each status that is described for messages is one of the table's.
func TestEveryRouteIsDescribed(t *testing.T) {
	doc := loadOpenAPI(t)
	for path, item := range doc.Paths.Map() {
		filled := strings.NewReplacer("{topic}", "t", "{id}", "x").Replace(path)
		to := find(filled)
		if (to.post != nil) != (item.Post != nil) || (to.get != nil) != (item.Get != nil) {
			t.Errorf("%s is described otherwise than it is served", path)
		}
	}
	statuses := make(map[string]bool)
	for _, k := range problemTable() {
		statuses[fmt.Sprint(k.status)] = true
	}
	for _, status := range slices.Collect(maps.Keys(doc.Paths.Value("/v1/topics/{topic}/messages").Post.Responses.Map())) {
		if status >= "300" && !statuses[status] {
			t.Errorf("status %s is described and never answered", status)
		}
	}
	if doc.Paths.Len() != 8 {
		t.Errorf("%d paths are described", doc.Paths.Len())
	}
}
