package test

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
)

var (
	inlineLink    = regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)`)
	referenceLink = regexp.MustCompile(`(?m)^\s{0,3}\[[^\]]+\]:\s+<?([^\s>]+)`)
	inlineCode    = regexp.MustCompile("`[^`\n]*`")
	heading       = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*#*$`)
)

// brokenLinks reports each relative link of a Markdown file whose file,
// folder or heading does not exist. Links to other hosts are not followed.
func brokenLinks(r repo) []string {
	var found []string
	for _, name := range r.names(func(n string) bool { return path.Ext(n) == ".md" && !isFixture(n) }) {
		prose := inlineCode.ReplaceAllString(outsideFences(string(r[name])), "")
		for _, re := range []*regexp.Regexp{inlineLink, referenceLink} {
			for _, m := range re.FindAllStringSubmatch(prose, -1) {
				if why := r.broken(name, m[1]); why != "" {
					found = append(found, fmt.Sprintf("%s: link to %s: %s", name, m[1], why))
				}
			}
		}
	}
	return found
}

// broken says what is wrong with a link in a file; "" where nothing is.
func (r repo) broken(from, link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return err.Error()
	}
	if u.Scheme != "" || u.Host != "" {
		return ""
	}
	target := from
	switch {
	case strings.HasPrefix(u.Path, "/"):
		target = path.Clean(strings.TrimPrefix(u.Path, "/"))
	case u.Path != "":
		target = path.Join(path.Dir(from), u.Path)
	}
	if !r.has(target) {
		return "no such file"
	}
	if u.Fragment != "" && path.Ext(target) == ".md" && !anchors(string(r[target]))[u.Fragment] {
		return "no such heading"
	}
	return ""
}

// has tells whether a file or a folder of that name is in the repository.
func (r repo) has(name string) bool {
	if _, ok := r[name]; ok || name == "." {
		return true
	}
	for other := range r {
		if strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}

// anchors are the names that the hosting platform gives a file's headings:
// lower case, spaces as hyphens, punctuation left out, a number for repeats.
func anchors(text string) map[string]bool {
	names := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(outsideFences(text), -1) {
		slug := strings.Map(func(c rune) rune {
			switch {
			case c == ' ':
				return '-'
			case c == '-' || c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c):
				return unicode.ToLower(c)
			}
			return -1
		}, m[1])
		name := slug
		for i := 1; names[name]; i++ {
			name = fmt.Sprintf("%s-%d", slug, i)
		}
		names[name] = true
	}
	return names
}

// outsideFences leaves out what stands between lines of ``` or ~~~.
func outsideFences(text string) string {
	var kept strings.Builder
	fence := ""
	for l := range strings.Lines(text) {
		trimmed := strings.TrimLeft(l, " ")
		for _, f := range []string{"```", "~~~"} {
			if strings.HasPrefix(trimmed, f) && (fence == "" || fence == f) {
				if fence == "" {
					fence = f
				} else {
					fence = ""
				}
				trimmed = ""
			}
		}
		if fence == "" && trimmed != "" {
			kept.WriteString(l)
		}
	}
	return kept.String()
}
