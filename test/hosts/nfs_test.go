package hosts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const setup = deploy + "/nfs/setup-server"

// program runs a script by bash, with programs replaced by shell functions.
func program(t *testing.T, path, functions string, args ...string) (string, error) {
	t.Helper()
	fakes := filepath.Join(t.TempDir(), "fakes")
	if err := os.WriteFile(fakes, []byte(functions), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{path}, args...)...)
	cmd.Env = append(os.Environ(), "BASH_ENV="+fakes)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestNFSRefuses(t *testing.T) {
	for _, row := range []struct {
		args    []string
		problem string
	}{
		{nil, "no --client"},
		{[]string{"--client", "*"}, "neither a name nor a network"},
		{[]string{"--client", "192.0.2.0/24"}, "neither a name nor a network"},
		{[]string{"--client", "node-1.example"}, "neither a name nor a network"},
		{[]string{"--client", "0.0.0.0"}, "neither a name nor a network"},
		{[]string{"--client", "::"}, "neither a name nor a network"},
		{[]string{"--client", "192.0.2.256"}, "neither a name nor a network"},
		{[]string{"--client", "192.0.2.1(rw)"}, "neither a name nor a network"},
		{[]string{"--client", "192.0.2.1", "--export", "relative"}, "an absolute path"},
		{[]string{"--client", "192.0.2.1", "--export", "/a/../etc"}, "an absolute path"},
		{[]string{"--client", "192.0.2.1", "--export", "/a b"}, "an absolute path"},
		{[]string{"--client", "192.0.2.1", "--quota", "much"}, "--quota much"},
		{[]string{"--client", "192.0.2.1", "--threads", "0"}, "--threads 0"},
		{[]string{"--client"}, "needs a value"},
		{[]string{"--everybody"}, "unknown option"},
	} {
		out, err := program(t, setup, "", append([]string{"--dry-run"}, row.args...)...)
		if err == nil || !strings.Contains(out, row.problem) {
			t.Errorf("%q: %v\n%s", row.args, err, out)
		}
	}
}

// The disk below an export has to keep what was synced, and a quota has to be one.
func TestNFSLooksAtTheDisk(t *testing.T) {
	const fakes = "id() { echo 0; }; exportfs() { :; }; nft() { :; }; systemctl() { :; }; xfs_quota() { :; }; install() { echo REACHED; exit 9; }; " //nolint:misspell // exportfs is a program
	for _, row := range []struct{ kind, options, problem string }{
		{"ext4", "rw,relatime", ""},
		{"xfs", "rw,prjquota", ""},
		{"nfs4", "rw", "is on nfs4"},
		{"tmpfs", "rw", "is on tmpfs"},
		{"ext4", "rw,nobarrier", "a power cut"},
		{"ext4", "rw,barrier=0", "a power cut"},
	} {
		find := `findmnt() { case "$*" in *FSTYPE*) echo ` + row.kind + ` ;; *) echo ` + row.options + ` ;; esac; }`
		dir := filepath.Join(t.TempDir(), "export")
		out, err := program(t, setup, fakes+find, "--client", "192.0.2.1", "--export", dir)
		if err == nil || strings.Contains(out, "REACHED") != (row.problem == "") || !strings.Contains(out, row.problem) {
			t.Errorf("%s %s: %v\n%s", row.kind, row.options, err, out)
		}
		out, err = program(t, setup, fakes+find, "--client", "192.0.2.1", "--export", dir, "--quota", "1g")
		if err == nil || strings.Contains(out, "REACHED") != (row.kind == "xfs") {
			t.Errorf("with a quota on %s %s: %v\n%s", row.kind, row.options, err, out)
		}
	}
}

// serverFiles are the files that the script writes, and what it would run.
func serverFiles(t *testing.T, path string, args ...string) (map[string]string, string) {
	t.Helper()
	root := t.TempDir()
	out, err := program(t, path, "", append(args, "--root", root)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files := make(map[string]string)
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, root)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, out
}

// unsafe is what is wrong with a server that was set up for these two clients.
func unsafe(files map[string]string, out string) []string {
	var found []string
	want := func(where, text, problem string) {
		if !strings.Contains(where, text) {
			found = append(found, problem)
		}
	}
	exports := files["/etc/exports.d/postroad.exports"]
	lines := 0
	for line := range strings.Lines(exports) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		lines++
		for _, o := range []string{"rw", "sync", "secure", "no_subtree_check", "all_squash", "anonuid=65532", "anongid=65532", "sec=sys"} {
			fields := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune("(), \n", r) })
			has := false
			for _, f := range fields {
				has = has || f == o
			}
			if !has {
				found = append(found, "an export without "+o)
			}
		}
	}
	if lines != 2 {
		found = append(found, "not an export for each client")
	}
	want(exports, "/export/postroad 192.0.2.11(", "the first client has no export")
	want(exports, "/export/postroad 2001:db8::1(", "the second client has no export")
	conf := files["/etc/nfs.conf.d/postroad.conf"]
	for _, s := range []string{"vers3=n", "vers4.0=n", "vers4.1=y", "udp=n"} {
		want(conf, "\n"+s+"\n", "no "+s)
	}
	nft := files["/etc/nftables.d/postroad-nfs.nft"]
	want(nft, "elements = { 192.0.2.11 }", "the firewall keeps the first client out")
	want(nft, "elements = { 2001:db8::1 }", "the firewall keeps the second client out")
	want(nft, "tcp dport 2049 ip saddr @clients4 accept", "the firewall keeps clients out")
	want(nft, "tcp dport { 111, 2049, 20048 } drop", "the firewall lets others in")
	want(files["/etc/systemd/system/postroad-nfs-firewall.service"], "RequiredBy=nfs-server.service", "the server starts without its firewall")
	want(out, "limit -p bhard=200g", "no quota")
	want(out, "mask --now rpcbind", "a portmapper")
	want(out, "exportfs -ra", "exports are not read") //nolint:misspell // the same
	return found
}

var asked = []string{"--client", "192.0.2.11", "--client", "2001:db8::1", "--quota", "200g"}

func TestNFS(t *testing.T) {
	for _, p := range unsafe(serverFiles(t, setup, asked...)) {
		t.Error(p)
	}
	source, err := os.ReadFile(setup)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ was, is string }{
		{"rw,sync,", "rw,async,"},
		{",secure,", ",insecure,"},
		{"all_squash,anon", "no_root_squash,anon"},
		{"uid=65532", "uid=0"},
		{"vers3=n", "vers3=y"},
		{"vers4.0=n", "vers4.0=y"},
		{"vers4.1=y", "vers4.1=n"},
		{"udp=n", "udp=y"},
		{"tcp dport { 111, 2049, 20048 } drop", "tcp dport { 111, 20048 } drop"},
		{"@clients4 accept", "@clients6 accept"},
		{"elements \"${six[@]}\"", "elements"},
		{"RequiredBy=nfs-server.service", ""},
		{"bhard=$quota", "bsoft=$quota"},
		{"run exportfs -ra", ""}, //nolint:misspell // the same
		{"$export_dir $client(", "$export_dir *("},
	} {
		changed := strings.Replace(string(source), row.was, row.is, 1)
		if changed == string(source) {
			t.Errorf("no %q", row.was)
			continue
		}
		path := filepath.Join(t.TempDir(), "setup-server")
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if len(unsafe(serverFiles(t, path, asked...))) == 0 {
			t.Errorf("nothing is wrong with %q", row.is)
		}
	}
	files, out := serverFiles(t, setup, append(asked, "--mtls")...)
	if !strings.Contains(files["/etc/exports.d/postroad.exports"], ",xprtsec=mtls)") || !strings.Contains(out, "xprtsec=mtls") {
		t.Errorf("--mtls asks for no certificate:\n%v\n%s", files, out)
	}
}

// A dry run writes nothing and runs nothing, and says all of it.
func TestNFSDryRun(t *testing.T) {
	root := t.TempDir()
	out, err := program(t, setup, "", append(asked, "--dry-run", "--root", root)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
		t.Errorf("wrote %v, %v", entries, err)
	}
	files, _ := serverFiles(t, setup, asked...)
	for path, text := range files {
		if !strings.Contains(out, "write: "+root+path+"\n") {
			t.Errorf("%s is not announced", path)
		}
		for line := range strings.Lines(text) {
			if !strings.Contains(out, "    "+line) {
				t.Errorf("%s: %q is not shown", path, line)
			}
		}
	}
}

// nft reads the rules, and again when they are there already, in a network of its
// own.
func TestNFSFirewallIsRead(t *testing.T) {
	missing(t, "nft")
	files, _ := serverFiles(t, setup, asked...)
	rules := files["/etc/nftables.d/postroad-nfs.nft"]
	read := func(rules string) (string, error) {
		path := filepath.Join(t.TempDir(), "rules.nft")
		if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--net", "sh", "-c", `nft -f "$0" && nft -f "$0" && nft list ruleset`, path)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := read(rules); err != nil || !strings.Contains(out, "192.0.2.11") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := read(strings.Replace(rules, "policy accept", "policy maybe", 1)); err == nil {
		t.Errorf("broken rules are read: %s", out)
	}
}

// Scripts have nothing that shellcheck finds.
func TestShellcheck(t *testing.T) {
	missing(t, "shellcheck")
	scripts := []string{setup, filepath.Join(deploy, "keepalived/check-door")}
	more, err := filepath.Glob("../../.github/scripts/*")
	if err != nil || len(more) < 6 {
		t.Fatalf("%q, %v", more, err)
	}
	if out, err := exec.CommandContext(t.Context(), "shellcheck", append(scripts, more...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("#!/bin/sh\nrm $1/*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if exec.CommandContext(t.Context(), "shellcheck", bad).Run() == nil {
		t.Error("shellcheck finds nothing wrong with a bad script")
	}
}
