package chart

import (
	"os"
	"path/filepath"
	"testing"
)

// The chart's README is what helm-docs makes of the chart.
func TestReadme(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "postroad")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root(t), filepath.FromSlash(chartDir)))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "README.md")); err != nil {
		t.Fatal(err)
	}
	if _, err := tools.run(t, nil, "helm-docs", "--chart-search-root", dir, "--log-level", "error"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	current(t, chartDir+"/README.md", b)
}

func TestChartIsLinted(t *testing.T) {
	for variant, args := range variants() {
		if out, err := tools.run(t, nil, "helm", append([]string{"lint", "--strict", chartDir}, args...)...); err != nil {
			t.Errorf("%s: %v\n%s", variant, err, out)
		}
	}
}
