package kafka

import (
	"fmt"
	"slices"
	"strings"
)

// loginModule is a module of a JAAS configuration with its options.
type loginModule struct {
	name    string // without its package: PlainLoginModule
	options map[string]string
	line    int
}

// The login modules that are understood.
const (
	modulePlain = "PlainLoginModule"
	moduleScram = "ScramLoginModule"
	moduleOAuth = "OAuthBearerLoginModule"
)

// jaasSection is the section that Kafka's clients read.
const jaasSection = "KafkaClient"

const jaasForm = jaasSection + ` { org.apache.kafka.common.security.plain.PlainLoginModule required username="…" password="…"; };`

// parseJAASFile reads the section KafkaClient of a JAAS file. Errors name the
// line and what is expected, and quote no value.
func parseJAASFile(b []byte) (loginModule, error) {
	t := &jaasTokens{text: string(b), line: 1}
	var found *loginModule
	var others []string
	for {
		name, line, err := t.next()
		switch {
		case err != nil:
			return loginModule{}, err
		case name.kind == jaasEnd && found != nil:
			return *found, nil
		case name.kind == jaasEnd:
			return loginModule{}, noSection(others)
		case name.kind != jaasWord:
			return loginModule{}, &lineError{line, "expected the name of a section, as in " + jaasForm}
		}
		modules, err := t.section()
		if err != nil {
			return loginModule{}, err
		}
		if name.text != jaasSection {
			others = append(others, name.text)
			continue
		}
		if found != nil || len(modules) != 1 {
			return loginModule{}, &lineError{line, "there must be one section " + jaasSection + " with one login module"}
		}
		if err := modules[0].check(); err != nil {
			return loginModule{}, err
		}
		found = &modules[0]
	}
}

func noSection(others []string) error {
	if len(others) == 0 {
		return &lineError{1, "holds no section; expected " + jaasForm}
	}
	return &lineError{0, fmt.Sprintf("holds no section %s, only %s; expected %s", jaasSection, strings.Join(others, ", "), jaasForm)}
}

// parseJAASConfig reads the value of sasl.jaas.config: one module.
func parseJAASConfig(text string) (loginModule, error) {
	t := &jaasTokens{text: text, line: 1}
	m, err := t.module(jaasToken{kind: jaasEnd})
	if err != nil {
		return loginModule{}, err
	}
	switch end, line, err := t.next(); {
	case err != nil:
		return loginModule{}, err
	case end.kind != jaasEnd:
		return loginModule{}, &lineError{line, "expected nothing after the first login module"}
	}
	return m, m.check()
}

// check says whether this program knows what the module does.
func (m loginModule) check() error {
	if !slices.Contains([]string{modulePlain, moduleScram, moduleOAuth}, m.name) {
		return &lineError{m.line, fmt.Sprintf("login module %s is not supported, only %s, %s and %s", m.name, modulePlain, moduleScram, moduleOAuth)}
	}
	if m.name == moduleOAuth {
		return nil
	}
	for _, o := range []string{"username", "password"} {
		if m.options[o] == "" {
			return &lineError{m.line, fmt.Sprintf("%s has no %s; expected %s", m.name, o, jaasForm)}
		}
	}
	return nil
}

type jaasKind int

const (
	jaasEnd jaasKind = iota
	jaasWord
	jaasQuoted
	jaasSign // one of { } ; =
)

type jaasToken struct {
	kind jaasKind
	text string
}

func (t jaasToken) is(sign string) bool { return t.kind == jaasSign && t.text == sign }

// jaasTokens cuts a JAAS configuration into tokens.
type jaasTokens struct {
	text string
	pos  int
	line int
}

// section reads { module… }; after a section's name.
func (t *jaasTokens) section() ([]loginModule, error) {
	open, line, err := t.next()
	if err != nil {
		return nil, err
	}
	if !open.is("{") {
		return nil, &lineError{line, "expected { after the name of a section, as in " + jaasForm}
	}
	var modules []loginModule
	for {
		tok, line, err := t.next()
		switch {
		case err != nil:
			return nil, err
		case tok.is("}"):
			end, line, err := t.next()
			if err == nil && !end.is(";") {
				err = &lineError{line, "expected ; after } of a section"}
			}
			return modules, err
		case tok.kind != jaasWord:
			return nil, &lineError{line, "expected a login module or } of the section, as in " + jaasForm}
		}
		m, err := t.module(tok)
		if err != nil {
			return nil, err
		}
		modules = append(modules, m)
	}
}

// module reads Class flag name=value … ; the class may have been read already.
func (t *jaasTokens) module(class jaasToken) (loginModule, error) {
	line := t.line
	var err error
	if class.kind == jaasEnd {
		if class, line, err = t.next(); err != nil {
			return loginModule{}, err
		}
	}
	if class.kind != jaasWord {
		return loginModule{}, &lineError{line, "expected the class of a login module, such as org.apache.kafka.common.security.plain.PlainLoginModule"}
	}
	flag, at, err := t.next()
	if err != nil {
		return loginModule{}, err
	}
	if flag.kind != jaasWord || !slices.Contains([]string{"required", "requisite", "sufficient", "optional"}, strings.ToLower(flag.text)) {
		return loginModule{}, &lineError{at, "expected required after the login module"}
	}
	m := loginModule{name: class.text[strings.LastIndexByte(class.text, '.')+1:], options: map[string]string{}, line: line}
	for {
		name, at, err := t.next()
		switch {
		case err != nil:
			return loginModule{}, err
		case name.is(";"):
			return m, nil
		case name.kind != jaasWord:
			return loginModule{}, &lineError{at, `expected an option name="value", or ; after the last one`}
		}
		value, err := t.value(name.text)
		if err != nil {
			return loginModule{}, err
		}
		m.options[name.text] = value
	}
}

func (t *jaasTokens) value(of string) (string, error) {
	eq, at, err := t.next()
	if err != nil {
		return "", err
	}
	if !eq.is("=") {
		return "", &lineError{at, fmt.Sprintf("expected = after the option %s", of)}
	}
	v, at, err := t.next()
	switch {
	case err != nil:
		return "", err
	case v.kind != jaasWord && v.kind != jaasQuoted:
		return "", &lineError{at, fmt.Sprintf(`expected a value in quotes after %s=`, of)}
	case strings.Contains(v.text, "${"):
		return "", &lineError{at, fmt.Sprintf("the value of %s refers to something by ${…}, which is not supported", of)}
	}
	return v.text, nil
}

// next returns the next token and its line.
func (t *jaasTokens) next() (jaasToken, int, error) {
	if err := t.skip(); err != nil {
		return jaasToken{}, t.line, err
	}
	if t.pos == len(t.text) {
		return jaasToken{}, t.line, nil
	}
	switch c := t.text[t.pos]; {
	case strings.IndexByte("{};=", c) >= 0:
		t.pos++
		return jaasToken{jaasSign, string(c)}, t.line, nil
	case c == '"' || c == '\'':
		return t.quoted(c)
	}
	from := t.pos
	for t.pos < len(t.text) && !jaasBreak(t.text[t.pos:]) {
		t.pos++
	}
	return jaasToken{jaasWord, t.text[from:t.pos]}, t.line, nil
}

// jaasBreak reports whether a word ends before rest.
func jaasBreak(rest string) bool {
	return strings.IndexByte(" \t\r\n\f{};=\"'", rest[0]) >= 0 || strings.HasPrefix(rest, "//") || strings.HasPrefix(rest, "/*")
}

// skip passes over spaces and comments.
func (t *jaasTokens) skip() error {
	for t.pos < len(t.text) {
		rest := t.text[t.pos:]
		switch {
		case rest[0] == '\n':
			t.line++
			t.pos++
		case strings.IndexByte(" \t\r\f", rest[0]) >= 0:
			t.pos++
		case rest[0] == '#', strings.HasPrefix(rest, "//"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			t.pos += end
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return &lineError{t.line, "a comment /* is not closed by */"}
			}
			t.line += strings.Count(rest[:end+4], "\n")
			t.pos += end + 4
		default:
			return nil
		}
	}
	return nil
}

// quoted reads a text in quotes, with the escapes of Java's StreamTokenizer.
func (t *jaasTokens) quoted(quote byte) (jaasToken, int, error) {
	line := t.line
	var out strings.Builder
	for t.pos++; t.pos < len(t.text); t.pos++ {
		switch c := t.text[t.pos]; c {
		case quote:
			t.pos++
			return jaasToken{jaasQuoted, out.String()}, line, nil
		case '\n', '\r':
			return jaasToken{}, line, &lineError{line, "a value in quotes does not end on its line"}
		case '\\':
			t.escape(&out)
		default:
			out.WriteByte(c)
		}
	}
	return jaasToken{}, line, &lineError{line, "a value in quotes does not end on its line"}
}

// escape reads what stands after a backslash; pos is left at its last byte.
func (t *jaasTokens) escape(out *strings.Builder) {
	if t.pos++; t.pos == len(t.text) {
		t.pos--
		return
	}
	c := t.text[t.pos]
	if i := strings.IndexByte("abfnrtv", c); i >= 0 {
		out.WriteByte("\a\b\f\n\r\t\v"[i])
		return
	}
	if c < '0' || c > '7' {
		out.WriteByte(c)
		return
	}
	n, digits := 0, 0
	most := 2
	if c <= '3' {
		most = 3
	}
	for digits < most && t.pos < len(t.text) && t.text[t.pos] >= '0' && t.text[t.pos] <= '7' {
		n = n*8 + int(t.text[t.pos]-'0')
		t.pos++
		digits++
	}
	t.pos--
	out.WriteRune(rune(n))
}
