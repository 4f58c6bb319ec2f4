package door

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// statusNames are the names that the code has for status codes.
func statusNames() map[string]int {
	return map[string]int{
		"StatusBadRequest": http.StatusBadRequest, "StatusForbidden": http.StatusForbidden, "StatusNotFound": http.StatusNotFound,
		"StatusMethodNotAllowed": http.StatusMethodNotAllowed, "StatusRequestTimeout": http.StatusRequestTimeout,
		"StatusRequestEntityTooLarge": http.StatusRequestEntityTooLarge, "StatusMisdirectedRequest": http.StatusMisdirectedRequest,
		"StatusTooManyRequests": http.StatusTooManyRequests, "StatusRequestHeaderFieldsTooLarge": http.StatusRequestHeaderFieldsTooLarge,
		"StatusServiceUnavailable": http.StatusServiceUnavailable, "StatusGatewayTimeout": http.StatusGatewayTimeout,
	}
}

// answered lists the problems in a source file, as "name status".
func answered(t *testing.T, file *ast.File) (all []string) {
	t.Helper()
	ast.Inspect(file, func(n ast.Node) bool {
		c, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		kind, ok := c.Type.(*ast.SelectorExpr)
		if !ok || kind.Sel.Name != "Problem" {
			return true
		}
		var name, status string
		for _, e := range c.Elts {
			pair, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch key, _ := pair.Key.(*ast.Ident); value := pair.Value.(type) {
			case *ast.BasicLit:
				if key.Name == "Name" {
					name, _ = strconv.Unquote(value.Value)
				}
			case *ast.SelectorExpr:
				if key.Name == "Status" {
					status = fmt.Sprint(statusNames()[value.Sel.Name])
				}
			}
		}
		all = append(all, name+" "+status)
		return true
	})
	return all
}

// The reference lists what the code answers with, and nothing else.
func TestProblemsAreThoseOfTheCode(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var inCode, listed []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		inCode = append(inCode, answered(t, file)...)
	}
	for _, k := range Problems() {
		listed = append(listed, fmt.Sprintf("%s %d", k.Name, k.Status))
		if k.Meaning == "" || k.Retry == "" {
			t.Errorf("%s: nothing is said of it", k.Name)
		}
	}
	slices.Sort(inCode)
	slices.Sort(listed)
	if got := slices.Compact(inCode); !slices.Equal(got, listed) {
		t.Errorf("in the code:\n%q\nlisted:\n%q", got, listed)
	}
}

// A problem that is not listed is found.
func TestAProblemThatIsNotListedIsFound(t *testing.T) {
	const source = "package door\nvar p = &httpserve.Problem{Name: \"teapot\", Status: http.StatusForbidden, Title: \"x\"}\n"
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got := answered(t, file); !slices.Equal(got, []string{"teapot 403"}) {
		t.Errorf("found %q", got)
	}
}
