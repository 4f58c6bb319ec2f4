package auth

import "fmt"

// compiled is a policy as it is looked up.
type compiled struct {
	principal     glob
	read, publish *list
}

func compile(policies []Policy) []compiled {
	all := make([]compiled, len(policies))
	for i, p := range policies {
		from := fmt.Sprintf("policy %d (%s)", i+1, p.Principal)
		all[i] = compiled{parseGlob(p.Principal), &list{from, p.Read}, &list{from, p.Publish}}
	}
	return all
}

// lists is one list, or none where it would hold nothing.
func lists(from string, patterns []Pattern) []*list {
	if len(patterns) == 0 {
		return nil
	}
	return []*list{{from: from, patterns: patterns}}
}

// grant is what the policies of a caller allow.
type grant struct{ read, publish []*list }

// maxGrants bounds how many different grants are remembered: there are as many as
// there are sets of policies that belong to one name, which is few.
const maxGrants = 1024

// grant finds what a name is granted. Callers with the same policies share it:
// ten thousand connections of one kind hold one grant.
func (v *Verifier) grant(name string) grant {
	which := make([]byte, (len(v.policies)+7)/8)
	for i, p := range v.policies {
		if p.principal.match(name) {
			which[i/8] |= 1 << (i % 8)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if g, ok := v.grants[string(which)]; ok {
		return g
	}
	var g grant
	for i, p := range v.policies {
		if which[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		if len(p.read.patterns) > 0 {
			g.read = append(g.read, p.read)
		}
		if len(p.publish.patterns) > 0 {
			g.publish = append(g.publish, p.publish)
		}
	}
	if len(v.grants) < maxGrants {
		v.grants[string(which)] = g
	}
	return g
}
