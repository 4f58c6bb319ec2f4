package gateway

import (
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// described is the router over openapi.json, built once for all tests.
var described = sync.OnceValues(func() (routers.Router, error) {
	text := func(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
		b, err := io.ReadAll(body)
		return string(b), err
	}
	openapi3filter.RegisterBodyDecoder("text/html", text)
	openapi3filter.RegisterBodyDecoder(typeNDJSON, text)
	openapi3filter.RegisterBodyDecoder("application/octet-stream", text)
	openapi3filter.RegisterBodyDecoder(typeEvent, openapi3filter.JSONBodyDecoder)
	openapi3filter.RegisterBodyDecoder(typeEventBatch, openapi3filter.JSONBodyDecoder)
	b, err := os.ReadFile("web/openapi.json")
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(b)
	if err != nil {
		return nil, err
	}
	return legacy.NewRouter(doc, openapi3.IsOpenAPI31OrLater())
})

// conform checks a request and its answer against openapi.json: every answer
// on a path that is described must be described, and a request that was
// accepted must be a valid one.
func conform(t *testing.T, req *http.Request, body string, a reply) {
	t.Helper()
	router, err := described()
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	copied := req.Clone(t.Context())
	copied.URL.Host, copied.URL.Scheme, copied.Host = "", "", ""
	copied.Body = io.NopCloser(strings.NewReader(body))
	route, params, err := router.FindRoute(copied)
	if err != nil {
		return // other letter case, HEAD, OPTIONS, no such path
	}
	input := &openapi3filter.RequestValidationInput{Request: copied, PathParams: params, Route: route, Options: &openapi3filter.Options{
		IncludeResponseStatus: true,
		ExcludeRequestBody:    !describedBody(route, req.Header.Get("Content-Type"), body),
	}}
	if a.status < 300 {
		if err := openapi3filter.ValidateRequest(t.Context(), input); err != nil {
			t.Errorf("%s %s was accepted and is not described: %v", req.Method, req.URL.Path, err)
		}
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: a.status, Header: a.header,
		Body: io.NopCloser(strings.NewReader(a.body)), Options: input.Options,
	})
	if err != nil {
		t.Errorf("%s %s is answered %d, which is not described: %v", req.Method, req.URL.Path, a.status, err)
	}
}

// describedBody reports whether a request of that content type has a schema.
// That member names of the classic call match in any letter case is said in
// words only.
func describedBody(route *routers.Route, contentType, body string) bool {
	described := route.Operation.RequestBody
	if route.Operation.OperationID == "postClassic" && !strings.Contains(body, `"senderId"`) {
		return false
	}
	return described != nil && described.Value.Content[mediaType(contentType)] != nil
}
