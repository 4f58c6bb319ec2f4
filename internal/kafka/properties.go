package kafka

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// property is an entry of a .properties file.
type property struct {
	key, value string
	line       int // where it begins, from 1
}

// lineError is what is wrong with a line of a file. It never quotes a value.
type lineError struct {
	line int // from 1; 0 for the file as a whole
	rule string
}

// Error implements error.
func (e *lineError) Error() string {
	if e.line == 0 {
		return e.rule
	}
	return fmt.Sprintf("line %d: %s", e.line, e.rule)
}

// inFile puts the file's name before what is wrong with it, and its line after
// the name: path:12: ….
func inFile(path string, err error) error {
	var le *lineError
	if errors.As(err, &le) && le.line > 0 {
		return fmt.Errorf("%s:%d: %s", path, le.line, le.rule)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// parseProperties reads a .properties file as java.util.Properties.load does:
// in ISO 8859-1, with its continuation lines and escapes. Where a key stands
// twice, both entries are returned; the later is to win.
func parseProperties(b []byte) ([]property, error) {
	var out []property
	lines := propertyLines(b)
	for i := 0; i < len(lines); i++ {
		text := strings.TrimLeft(lines[i], " \t\f")
		if text == "" || text[0] == '#' || text[0] == '!' {
			continue
		}
		first := i + 1
		for continued(text) {
			text = text[:len(text)-1]
			if i++; i == len(lines) {
				break
			}
			text += strings.TrimLeft(lines[i], " \t\f")
		}
		p, err := parseProperty(text)
		if err != nil {
			return nil, &lineError{first, err.Error()}
		}
		p.line = first
		out = append(out, p)
	}
	return out, nil
}

// propertyLines cuts at \n, \r and \r\n, and takes each byte for the character
// of that number.
func propertyLines(b []byte) []string {
	var text strings.Builder
	for _, c := range b {
		text.WriteRune(rune(c))
	}
	s := strings.ReplaceAll(text.String(), "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(s, "\r", "\n"), "\n")
}

// continued reports whether a line ends in an odd number of backslashes.
func continued(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// parseProperty splits a logical line: the key ends at the first '=', ':' or
// space that is not escaped, and one '=' or ':' among the spaces after it is
// not of the value.
func parseProperty(line string) (property, error) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	key, err := unescapeProperty(line[:end])
	if err != nil {
		return property{}, err
	}
	value, err := unescapeProperty(rest)
	return property{key: key, value: value}, err
}

func unescapeProperty(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			break
		}
		switch s[i] {
		case 't':
			out.WriteByte('\t')
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 'f':
			out.WriteByte('\f')
		case 'u':
			if i+5 > len(s) {
				return "", errBadUnicode
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", errBadUnicode
			}
			out.WriteRune(rune(n))
			i += 4
		default:
			out.WriteByte(s[i])
		}
	}
	return out.String(), nil
}

var errBadUnicode = errors.New(`\u must be followed by four hexadecimal digits`)
