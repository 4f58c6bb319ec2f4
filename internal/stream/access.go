package stream

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"postroad/internal/auth"
	"postroad/internal/httpserve"
	"postroad/internal/stream/live"
)

// tokenParameter carries the token where a client can send no header, as a
// browser's EventSource. Nothing here logs a query.
const tokenParameter = "access_token"

// tokenOf returns the token of a request; "" without one.
func tokenOf(r *http.Request) (string, error) {
	fields := r.Header.Values("Authorization")
	query := r.URL.Query()[tokenParameter]
	switch {
	case len(fields)+len(query) > 1:
		return "", errors.New("send one token, in Authorization or in " + tokenParameter)
	case len(query) == 1:
		return query[0], nil
	case len(fields) == 0:
		return "", nil
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", errors.New("the field Authorization must be: Bearer TOKEN")
	}
	return token, nil
}

// admit says who asks, where that is one who may read subject.
func (n *Node) admit(r *http.Request, subject live.Subject) (*auth.Principal, *httpserve.Problem) {
	token, err := tokenOf(r)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	p, problem := n.principal(r, token)
	if problem != nil {
		return nil, problem
	}
	if !p.MayRead(subject.String()) {
		return nil, &httpserve.Problem{
			Name: "forbidden", Status: http.StatusForbidden, Title: "Forbidden",
			Detail: "this client may not read " + subject.String(),
		}
	}
	return p, nil
}

// judge says who a token speaks for; an empty one is for those without.
func (n *Node) judge(ctx context.Context, token string) (*auth.Principal, error) {
	if token != "" {
		return n.auth.Verify(ctx, token)
	}
	if p, ok := n.auth.Anonymous(); ok {
		return p, nil
	}
	return nil, auth.ErrNoToken
}

func (n *Node) principal(r *http.Request, token string) (*auth.Principal, *httpserve.Problem) {
	p, err := n.judge(r.Context(), token)
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, auth.ErrNoToken):
		return nil, unauthorized("a token is needed")
	case errors.Is(err, auth.ErrExpired):
		return nil, unauthorized("the token is no longer good")
	case errors.Is(err, auth.ErrInvalidToken):
		return nil, unauthorized("the token is not good")
	}
	n.log.Warn("a token could not be judged", "err", err)
	return nil, unavailable("the token cannot be judged now", time.Second)
}

func unauthorized(detail string) *httpserve.Problem {
	return &httpserve.Problem{Name: "unauthorized", Status: http.StatusUnauthorized, Title: "Unauthorized", Detail: detail}
}
