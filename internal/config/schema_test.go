package config

import (
	"encoding/json"
	"strings"
	"testing"
)

// Each setting of each command is in its schema, and nothing else.
func TestSchemaHasEverySetting(t *testing.T) {
	for _, root := range Roots() {
		schema, err := Schema(root, "")
		if err != nil {
			t.Fatal(err)
		}
		tree, err := newTree(root.Settings)
		if err != nil {
			t.Fatal(err)
		}
		for _, leaf := range tree.leaves {
			at := schema
			for key := range strings.SplitSeq(leaf.path, ".") {
				properties, _ := at["properties"].(map[string]any)
				if at, _ = properties[key].(map[string]any); at == nil {
					t.Errorf("%s: %s is not in the schema", root.Command, leaf.path)
					break
				}
			}
			if at != nil && at["description"] == nil {
				t.Errorf("%s: %s is not described", root.Command, leaf.path)
			}
		}
		if schema["additionalProperties"] != false {
			t.Errorf("%s: keys that are no settings are allowed", root.Command)
		}
	}
}

func TestSchemaOfASection(t *testing.T) {
	hub, err := Schema(Roots()[0], "hub")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(hub)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"brokers":{"description":`) || strings.Contains(string(b), `"drain_delay"`) {
		t.Errorf("not the section hub: %s", b)
	}
	if _, err := Schema(Roots()[0], "nowhere"); err == nil {
		t.Error("a section that is not there has a schema")
	}
}
