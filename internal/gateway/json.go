package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"postroad/internal/message"
)

// jsonReader reads JSON strictly: UTF-8 only, member names only once, at most
// 10,000 levels deep. What it returns are parts of the text it was given.
type jsonReader struct {
	dec  jsontext.Decoder
	src  bytes.Buffer
	text []byte
}

// jsonReaders lends readers; each is used by one goroutine at a time.
type jsonReaders struct{ pool sync.Pool }

func (p *jsonReaders) get() *jsonReader {
	if r, ok := p.pool.Get().(*jsonReader); ok {
		return r
	}
	return new(jsonReader)
}

func (p *jsonReaders) put(r *jsonReader) {
	r.reset(nil)
	p.pool.Put(r)
}

// reset begins with another text.
func (r *jsonReader) reset(text []byte) {
	r.text = text
	r.src = *bytes.NewBuffer(text)
	r.dec.Reset(&r.src)
}

// value reads the next value.
func (r *jsonReader) value() (jsontext.Value, error) {
	v, err := r.dec.ReadValue()
	if err != nil {
		return nil, r.refusal(err)
	}
	end := int(r.dec.InputOffset())
	return r.text[end-len(v) : end : end], nil
}

// object reads the next value, which must be an object, and calls member for
// each of its members, the name unquoted.
func (r *jsonReader) object(member func(name []byte, value jsontext.Value) error) error {
	if err := r.open('{', "an object"); err != nil {
		return err
	}
	for r.dec.PeekKind() != '}' {
		name, err := r.value()
		if err != nil {
			return err
		}
		text, err := unquote(name)
		if err != nil {
			return r.refusal(err)
		}
		value, err := r.value()
		if err != nil {
			return err
		}
		if err := member(text, value); err != nil {
			return err
		}
	}
	return r.close()
}

// array reads the next value, which must be an array, and calls element where
// each of its elements begins; element must read it.
func (r *jsonReader) array(element func(i int) error) error {
	if err := r.open('[', "an array"); err != nil {
		return err
	}
	for i := 0; r.dec.PeekKind() != ']'; i++ {
		if err := element(i); err != nil {
			return err
		}
	}
	return r.close()
}

func (r *jsonReader) open(kind jsontext.Kind, what string) error {
	if r.dec.PeekKind() == kind {
		_, err := r.dec.ReadToken()
		return r.refusal(err)
	}
	v, err := r.value()
	if err != nil {
		return err
	}
	return refuse(message.ErrInvalid, "%s at byte %d, where %s is wanted", kindName(v.Kind()), int(r.dec.InputOffset())-len(v), what)
}

func (r *jsonReader) close() error {
	_, err := r.dec.ReadToken()
	return r.refusal(err)
}

// end checks that nothing but white space follows.
func (r *jsonReader) end() error {
	_, err := r.dec.ReadToken()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		return refuse(message.ErrInvalid, "more text after the JSON value, at byte %d", r.dec.InputOffset()-1)
	}
	return r.refusal(err)
}

// refusal words an error of the decoder for the client.
func (r *jsonReader) refusal(err error) error {
	if err == nil {
		return nil
	}
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok { // io.EOF: nothing where something was wanted
		return refuse(message.ErrInvalid, "the JSON text ends early, at byte %d", len(r.text))
	}
	what := syntax.Err.Error()
	switch {
	case errors.Is(syntax.Err, jsontext.ErrDuplicateName):
		what = fmt.Sprintf("member %q is there twice", clip(syntax.JSONPointer.LastToken()))
	case errors.Is(syntax.Err, io.ErrUnexpectedEOF):
		what = "the text ends early"
	}
	return refuse(message.ErrInvalid, "invalid JSON at byte %d: %s", syntax.ByteOffset, what).with("offset", syntax.ByteOffset)
}

// unquote returns the text of a JSON string: a part of it where it holds no
// escapes, else new memory. The string must be valid.
func unquote(v jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1 : len(v)-1], nil
	}
	text, err := jsontext.AppendUnquote(make([]byte, 0, len(v)), v)
	if err != nil {
		return nil, fmt.Errorf("unquote a JSON string: %w", err)
	}
	return text, nil
}

// text returns the text of a value that must be a string.
func text(what string, v jsontext.Value) ([]byte, error) {
	if v.Kind() != '"' {
		return nil, refuse(message.ErrInvalid, "%s is %s; must be a string", what, kindName(v.Kind()))
	}
	s, err := unquote(v)
	if err != nil {
		return nil, refuse(message.ErrInvalid, "%s is not a valid string", what)
	}
	return s, nil
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '0':
		return "a number"
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	}
	return "something else"
}

// appendString adds s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendString[T string | []byte](b []byte, s T) []byte {
	b, _ = jsontext.AppendQuote(b, s) // the error only says that bytes were replaced
	return b
}

// clip shortens a client's text for an error message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// marshal writes v as a line of JSON, for the calls that are not in a hurry.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // only types of our own come here, and they marshal
		return []byte("{}")
	}
	return append(b, '\n')
}
