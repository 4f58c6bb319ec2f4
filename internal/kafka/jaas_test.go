package kafka

import (
	"maps"
	"strings"
	"testing"
)

const jaasText = `// what Java clients read
KafkaServer { org.example.Other optional; };
KafkaClient {
  org.apache.kafka.common.security.plain.PlainLoginModule required
    username="ada" /* a
    person */ password="p\"a;s{s}\\";
};
`

func TestParseJAASFile(t *testing.T) {
	for name, tc := range map[string]struct {
		text    string
		module  string
		options map[string]string
		err     string
	}{
		"plain":  {jaasText, modulePlain, map[string]string{"username": "ada", "password": `p"a;s{s}\`}, ""},
		"scram":  {`KafkaClient{ScramLoginModule Required username=ada password='x y' tokenauth=true;};`, moduleScram, map[string]string{"username": "ada", "password": "x y", "tokenauth": "true"}, ""},
		"octal":  {`KafkaClient { PlainLoginModule required username="\101\0" password="\t"; };`, modulePlain, map[string]string{"username": "A\x00", "password": "\t"}, ""},
		"tokens": {`KafkaClient { OAuthBearerLoginModule required clientId="c"; };`, moduleOAuth, map[string]string{"clientId": "c"}, ""},

		"empty":              {"\n\n", "", nil, "line 1: holds no section"},
		"other section":      {"Client { a.B required; };", "", nil, "holds no section KafkaClient, only Client"},
		"kerberos":           {"KafkaClient {\n com.sun.security.auth.module.Krb5LoginModule required; };", "", nil, "line 2: login module Krb5LoginModule is not supported"},
		"no password":        {"KafkaClient { PlainLoginModule required username=\"ada\"; };", "", nil, "line 1: PlainLoginModule has no password"},
		"no semicolon":       {"KafkaClient {\n PlainLoginModule required username=\"ada\" password=\"p\"\n};", "", nil, `line 3: expected an option name="value", or ; after the last one`},
		"no end":             {"KafkaClient {\n PlainLoginModule required username=\"ada\" password=\"hush", "", nil, "line 2: a value in quotes does not end on its line"},
		"no flag":            {"KafkaClient { PlainLoginModule username=\"ada\"; };", "", nil, "line 1: expected required after the login module"},
		"no last semicolon":  {"KafkaClient { PlainLoginModule required username=a password=hush; }", "", nil, "line 1: expected ; after } of a section"},
		"a system property":  {"KafkaClient { PlainLoginModule required\n username=a password=\"${pass}\"; };", "", nil, "line 2: the value of password refers to something by ${…}"},
		"an open comment":    {"KafkaClient { /* ", "", nil, "line 1: a comment /* is not closed"},
		"two modules":        {"KafkaClient { PlainLoginModule required username=a password=b; PlainLoginModule required username=a password=b; };", "", nil, "line 1: there must be one section KafkaClient with one login module"},
		"no name of section": {"{ };", "", nil, "line 1: expected the name of a section"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := parseJAASFile([]byte(tc.text))
			if !strings.HasPrefix(errText(err), tc.err) || (err == nil) != (tc.err == "") {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if m.name != tc.module || !maps.Equal(m.options, tc.options) {
				t.Errorf("got %+v, want %s with %v", m, tc.module, tc.options)
			}
			if strings.Contains(errText(err), "hush") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestParseJAASConfig(t *testing.T) {
	m, err := parseJAASConfig(`org.apache.kafka.common.security.scram.ScramLoginModule required username="ada" password="x";`)
	if err != nil || m.name != moduleScram || m.options["password"] != "x" {
		t.Errorf("got %+v, %v", m, err)
	}
	for _, text := range []string{"", "PlainLoginModule", "PlainLoginModule required", "PlainLoginModule required username=a password=b; more", "; required"} {
		if _, err := parseJAASConfig(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// No text makes it fail to end; a password that is written in quotes is read
// back as it is.
func FuzzJAAS(f *testing.F) {
	f.Add(jaasText, "p\"\\")
	f.Add("KafkaClient {", "")
	f.Add(`a { b required c=d; }; KafkaClient { PlainLoginModule required username="\7" password=x; };`, "$")
	f.Fuzz(func(t *testing.T, text, password string) {
		m, err := parseJAASFile([]byte(text))
		if err == nil && m.check() != nil {
			t.Fatalf("%q gives a module that is none: %+v", text, m)
		}
		_, _ = parseJAASConfig(text)
		if password == "" || strings.ContainsAny(password, "\r\n") || strings.Contains(password, "${") {
			return
		}
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(password)
		m, err = parseJAASFile([]byte(`KafkaClient { PlainLoginModule required username="u" password="` + quoted + `"; };`))
		if err != nil || m.options["password"] != password {
			t.Fatalf("%q is read as %q, %v", password, m.options["password"], err)
		}
	})
}
