package door

import (
	"context"
	"net/http"

	"postroad/internal/httpserve"
)

type endlessKey struct{}

// endWithDrain ends answers that have no end of their own (event streams,
// upgraded connections) when the listener begins to drain. Their clients
// connect again, elsewhere; every other request may finish.
func endWithDrain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		endless := func() {
			go func() {
				select {
				case <-httpserve.Draining(ctx):
					cancel()
				case <-ctx.Done():
				}
			}()
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, endlessKey{}, endless)))
	})
}

// markEndless says that the answer being given in ctx has no end of its own.
func markEndless(ctx context.Context) {
	if endless, ok := ctx.Value(endlessKey{}).(func()); ok {
		endless()
	}
}
