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
		{"ext4", "unmounted", "a file system of its own"},
		{"ext4", "rw,relatime", ""},
		{"xfs", "rw,prjquota", ""},
		{"nfs4", "rw", "is on nfs4"},
		{"tmpfs", "rw", "is on tmpfs"},
		{"ext4", "rw,nobarrier", "a power cut"},
		{"ext4", "rw,barrier=0", "a power cut"},
	} {
		find := `findmnt() { case "$*" in *FSTYPE*) echo ` + row.kind + ` ;; *) echo ` + row.options + ` ;; esac; }; mountpoint() { [ ` + row.options + ` != unmounted ]; }`
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
		for _, o := range []string{"rw", "sync", "mp", "secure", "no_subtree_check", "all_squash", "anonuid=65532", "anongid=65532", "sec=sys"} {
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
	for _, key := range []string{"ExecStart", "ExecReload", "ExecStopPost"} {
		want(files["/etc/systemd/system/nftables.service.d/postroad-nfs.conf"], "\n"+key+"=/usr/sbin/nft --file /etc/nftables.d/postroad-nfs.nft\n", "other rules take the firewall away: "+key)
	}
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
		{"sync,mp,", "sync,"},
		{"ExecStopPost=", "ExecStop="},
		{"nftables.service.d/", "other.service.d/"},
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

// apart runs a program by unshare, as root of what it makes: as root, by sudo where it
// asks for no password, or in a user namespace, which some systems do not give.
func apart(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // not in everybody's
	before := []string{"unshare", "--user", "--map-root-user"}
	if os.Getuid() == 0 {
		before = []string{"unshare"}
	} else if exec.CommandContext(t.Context(), "sudo", "-n", "true").Run() == nil {
		before = []string{"sudo", "-n", "unshare"}
	}
	return exec.CommandContext(t.Context(), before[0], append(before[1:], args...)...)
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
		cmd := apart(t, "--net", "sh", "-c", `nft -f "$0" && nft -f "$0" && nft list ruleset`, path)
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

// connections is what clients of a machine with these rules get, in a network of two
// machines that has no way out: address and port, and whether somebody answered.
func connections(t *testing.T, rules, then string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"rules.nft": rules, "other.nft": "flush ruleset\n", "listen.py": listen, "connect.py": connect} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := apart(t, "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", `
mount -t tmpfs none /run
ip link set lo up
ip netns add client
ip link add inside type veth peer name outside netns client
ip addr add 192.0.2.1/24 dev inside
ip addr add 2001:db8::ff/64 dev inside nodad
ip link set inside up
for address in 192.0.2.11/24 192.0.2.12/24; do ip -n client addr add $address dev outside; done
for address in 2001:db8::1/64 2001:db8::2/64; do ip -n client addr add $address dev outside nodad; done
ip -n client link set outside up
nft -f rules.nft
`+then+`
python3 listen.py >listening &
until [ -s listening ]; do :; done
ip netns exec client python3 connect.py
`)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

const listen = `
import selectors, socket
wait = selectors.DefaultSelector()
for port in (111, 2049, 2222, 20048):
    s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=16)
    wait.register(s, selectors.EVENT_READ)
print("yes", flush=True)
while True:
    for key, _ in wait.select():
        key.fileobj.accept()[0].close()
`

const connect = `
import concurrent.futures, socket
def answers(case):
    source, target, port = case
    try:
        socket.create_connection((target, port), timeout=2, source_address=(source, 0)).close()
        return f"{source} {port} yes"
    except OSError:
        return f"{source} {port} no"
cases = [(s, t, p) for p in (111, 2049, 2222, 20048) for s, t in (
    ("192.0.2.11", "192.0.2.1"), ("192.0.2.12", "192.0.2.1"), ("2001:db8::1", "2001:db8::ff"), ("2001:db8::2", "2001:db8::ff"))]
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print("\n".join(pool.map(answers, cases)))
`

// Those two clients get to the server and nobody else, nor they to anything that NFS 4
// does not use; and so it is again after Debian's service has loaded its own rules, by
// what was added to it. Ports of others are left alone.
func TestNFSFirewallBlocks(t *testing.T) {
	for _, program := range []string{"nft", "ip", "unshare", "python3"} {
		missing(t, program)
	}
	files, _ := serverFiles(t, setup, asked...)
	rules := files["/etc/nftables.d/postroad-nfs.nft"]
	const want = "192.0.2.11 111 no\n192.0.2.12 111 no\n2001:db8::1 111 no\n2001:db8::2 111 no\n" +
		"192.0.2.11 2049 yes\n192.0.2.12 2049 no\n2001:db8::1 2049 yes\n2001:db8::2 2049 no\n" +
		"192.0.2.11 2222 yes\n192.0.2.12 2222 yes\n2001:db8::1 2222 yes\n2001:db8::2 2222 yes\n" +
		"192.0.2.11 20048 no\n192.0.2.12 20048 no\n2001:db8::1 20048 no\n2001:db8::2 20048 no\n"
	if got := connections(t, rules, ""); got != want {
		t.Errorf("answered were\n%s", got)
	}
	reload := values(files["/etc/systemd/system/nftables.service.d/postroad-nfs.conf"], "ExecReload")
	if len(reload) != 1 {
		t.Fatalf("reload %q", reload)
	}
	again := strings.NewReplacer("/usr/sbin/nft", "nft", "/etc/nftables.d/postroad-nfs.nft", "rules.nft").Replace(reload[0])
	if got := connections(t, rules, "nft -f other.nft\n"+again); got != want {
		t.Errorf("after a reload of other rules answered were\n%s", got)
	}
	if got := connections(t, rules, "nft -f other.nft"); got == want {
		t.Error("other rules do no harm: the test tests nothing")
	}
}
