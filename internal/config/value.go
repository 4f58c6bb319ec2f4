package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// setText sets a setting from the text of a variable or flag. Lists are
// separated by commas; an empty text is an empty list.
func setText(v reflect.Value, text string) error {
	if v.Kind() != reflect.Slice || v.Addr().Type().Implements(textUnmarshalerType) {
		return setScalar(v, text)
	}
	var parts []string
	if text != "" {
		parts = strings.Split(text, ",")
	}
	return setList(v, parts)
}

// setList replaces a list; on error the old one stays.
func setList(v reflect.Value, parts []string) error {
	list := reflect.MakeSlice(v.Type(), len(parts), len(parts))
	for i, part := range parts {
		if err := setScalar(list.Index(i), strings.TrimSpace(part)); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	v.Set(list)
	return nil
}

// setScalar sets a single value. Its errors are the rules that the text
// breaks, worded to follow path and value.
func setScalar(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	if v.Type() == durationType {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("must be a duration such as 250ms, 10s or 24h")
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := parseBool(text)
		if err != nil {
			return err
		}
		v.SetBool(b)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("must be a number")
		}
		v.SetFloat(f)
	default:
		return setInteger(v, text)
	}
	return nil
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errors.New("must be true or false")
}

// setInteger takes decimal numbers, with underscores between digits for the
// eye: 1_000_000.
func setInteger(v reflect.Value, text string) error {
	digits := strings.ReplaceAll(text, "_", "")
	if v.CanUint() {
		n, err := strconv.ParseUint(digits, 10, v.Type().Bits())
		if err != nil {
			return integerRule(err, "must be a whole number, not negative")
		}
		v.SetUint(n)
		return nil
	}
	n, err := strconv.ParseInt(digits, 10, v.Type().Bits())
	if err != nil {
		return integerRule(err, "must be a whole number")
	}
	v.SetInt(n)
	return nil
}

func integerRule(err error, rule string) error {
	if errors.Is(err, strconv.ErrRange) {
		return errors.New("is too large a number")
	}
	return errors.New(rule)
}

// text writes a scalar as setScalar reads it.
func text(v reflect.Value) string {
	if v.Type() == durationType {
		return durationText(time.Duration(v.Int()))
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if b, err := m.MarshalText(); err == nil {
			return string(b)
		}
	}
	return fmt.Sprint(v.Interface())
}

// durationText writes 24h, not 24h0m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// kindName is what the reference calls the type of a setting.
func kindName(t reflect.Type) string {
	if t.Kind() == reflect.Slice {
		return "list of " + plural(kindName(t.Elem()))
	}
	if t == durationType {
		return "duration"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "number"
	case reflect.String, reflect.Struct:
		return "text"
	}
	return "integer"
}

func plural(kind string) string {
	switch kind {
	case "text":
		return "texts"
	case "true or false":
		return kind
	}
	return kind + "s"
}
