package auth

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func write(t testing.TB, name, text string) string {
	t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(t.TempDir(), name)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const tokenA, tokenB = "token-of-stamp-a-0123456789", "token-of-stamp-b-0123456789"

func request(fields ...string) *http.Request {
	return &http.Request{Header: http.Header{"Authorization": fields}}
}

func TestIdentify(t *testing.T) {
	s := NewStamps([]Stamp{
		{"a", write(t, "a", tokenA+"\n")}, {"b", write(t, "b", tokenB)}, {"later", filepath.Join(t.TempDir(), "none")},
	})
	for _, row := range []struct {
		name   string
		fields []string
		want   string
		err    error
	}{
		{"first", []string{"Bearer " + tokenA}, "a", nil},
		{"second, scheme in lower case", []string{"bearer " + tokenB}, "b", nil},
		{"none", nil, "", ErrUnknown},
		{"two", []string{"Bearer " + tokenA, "Bearer " + tokenB}, "", ErrUnknown},
		{"another scheme", []string{"Basic " + tokenA}, "", ErrUnknown},
		{"empty", []string{"Bearer "}, "", ErrUnknown},
		{"a beginning of one", []string{"Bearer " + tokenA[:len(tokenA)-1]}, "", ErrSecret},
		{"one with more", []string{"Bearer " + tokenA + "x"}, "", ErrSecret},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := s.Identify(request(row.fields...))
			if got != row.want || !errors.Is(err, row.err) {
				t.Fatalf("%q, %v; want %q, %v", got, err, row.want, row.err)
			}
			if err != nil && strings.Contains(err.Error(), "token-of") {
				t.Errorf("the error holds a token: %v", err)
			}
		})
	}
	if _, err := NewStamps(nil).Identify(request("Bearer " + tokenA)); !errors.Is(err, ErrUnknown) {
		t.Errorf("nobody is known: %v", err)
	}
}

// A token that is replaced counts, and the old one does not any more; while the
// file is gone or half written the last one stays good.
func TestSecretIsReadAgain(t *testing.T) {
	file := write(t, "token", tokenA)
	synctest.Test(t, func(t *testing.T) {
		s := NewSecret(file)
		want := func(value string) {
			t.Helper()
			<-time.After(2 * lookEvery)
			if got, err := s.Value(); got != value || err != nil {
				t.Fatalf("%q, %v; want %q", got, err, value)
			}
		}
		want(tokenA)
		write(t, file, tokenB+"-longer\r\n")
		want(tokenB + "-longer")
		write(t, file, "short")
		want(tokenB + "-longer")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		want(tokenB + "-longer")
		write(t, file, tokenA)
		want(tokenA)
	})
}

func TestSecretsThatAreNone(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "short": "0123456789", "blank inside": "0123456789 0123456789", "two lines": tokenA + "\n" + tokenB,
		"too long": strings.Repeat("x", maxSecret+1), "control": "0123456789012345\x00",
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := NewSecret(write(t, "token", text)).Value(); !errors.Is(err, ErrSecret) || v != "" {
				t.Fatalf("%q, %v", v, err)
			}
		})
	}
}
