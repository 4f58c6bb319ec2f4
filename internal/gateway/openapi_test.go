package gateway

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/goccy/go-yaml"
)

// update makes the tests write the files that are made from others.
var update = flag.Bool("update", false, "write web/openapi.json and docs/reference again")

// current compares a generated file with what it should hold, or writes it.
func current(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not current: go test ./internal/gateway -update", path)
	}
}

// TestOpenAPIJSONIsCurrent makes openapi.json from openapi.yaml.
func TestOpenAPIJSONIsCurrent(t *testing.T) {
	source, err := os.ReadFile("web/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := yaml.YAMLToJSON(source)
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, bytes.TrimSpace(plain), "", " "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	current(t, "web/openapi.json", indented.Bytes())
}

func loadOpenAPI(t *testing.T) *openapi3.T {
	t.Helper()
	b, err := os.ReadFile("web/openapi.json") // not the embedded one, which -update leaves behind
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(b)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestOpenAPIIsValid(t *testing.T) {
	doc := loadOpenAPI(t)
	if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatal(err)
	}
}
