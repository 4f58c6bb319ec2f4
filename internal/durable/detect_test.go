package durable

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table in docs/filesystems.md again")

// Lines as kernels write them, each with the verdict and a word of the reason.
var mounts = []struct {
	line    string
	verdict Verdict
	why     string // in one of the reasons; empty where there is none
	fills   bool
}{
	{`27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard`, Supported, "", true},
	{`27 1 254:0 / / rw,relatime - ext3 /dev/vda rw`, Supported, "", true},
	{`27 1 254:0 / /data rw,relatime - ext4 /dev/vda rw,data=journal`, Supported, "", true},
	{`27 1 254:0 / /data rw,relatime shared:1 - ext4 /dev/vda rw,data=writeback`, Remarked, "old bytes", true},
	{`27 1 254:0 / /data rw,relatime shared:1 - ext4 /dev/vda rw,nobarrier`, Refused, "power cut", true},
	{`27 1 254:0 / /data rw,relatime shared:1 - ext3 /dev/vda rw,barrier=0`, Refused, "power cut", true},
	{`27 1 254:0 / /data rw,relatime - ext4 /dev/vda rw,journal_async_commit`, Remarked, "checksum", true},
	{`27 1 254:0 / /data ro,relatime - ext4 /dev/vda rw`, Refused, "read-only", true},
	{`27 1 254:0 / /data rw,relatime - ext4 /dev/vda ro`, Refused, "read-only", true},
	{`27 1 254:0 / /data rw,relatime - ext2 /dev/vda rw`, Remarked, "journal", true},
	{`27 1 254:0 / /data rw,relatime - xfs /dev/vda rw,attr2,inode64,noquota`, Supported, "", true},
	{`27 1 254:0 / /data rw,relatime - xfs /dev/vda rw,nobarrier`, Refused, "power cut", true},
	{`60 27 0:50 /@home /home rw,noatime shared:3 - btrfs /dev/vdb rw,space_cache=v2,subvol=/@home`, Supported, "", false},
	{`60 27 0:50 / /data rw - btrfs /dev/vdb rw,nodatasum,nodatacow`, Remarked, "mirrored", false},
	{`60 27 0:50 / /data rw - btrfs /dev/vdb rw,nobarrier`, Refused, "power cut", false},
	{`61 27 0:51 / /tank rw,relatime shared:4 - zfs tank/queue rw,xattr,noacl`, Supported, "", false},
	{`62 27 8:1 / /data rw - f2fs /dev/sda1 rw,fsync_mode=posix`, Remarked, "flash", false},
	{`62 27 8:1 / /data rw - f2fs /dev/sda1 rw,fsync_mode=nobarrier`, Refused, "power cut", false},
	{`63 27 0:52 / /data rw - virtiofs share rw`, Remarked, "host", false},

	{`70 27 0:60 / /q rw,relatime shared:5 - nfs4 nas:/q rw,vers=4.1,rsize=1048576,hard,proto=tcp,lookupcache=pos,local_lock=none`, Supported, "", false},
	{`70 27 0:60 / /q rw,relatime - nfs4 nas:/q rw,vers=4.2,hard,lookupcache=none`, Supported, "", false},
	{`70 27 0:60 / /q rw,relatime - nfs4 nas:/q rw,vers=4.1,hard`, Remarked, "lookupcache", false},
	{`70 27 0:60 / /q rw,relatime - nfs4 nas:/q rw,vers=4.1,soft,lookupcache=pos`, Refused, "hard", false},
	{`70 27 0:60 / /q rw,relatime - nfs4 nas:/q rw,vers=4.1,softerr,lookupcache=pos`, Refused, "hard", false},
	{`70 27 0:60 / /q rw,relatime - nfs4 nas:/q rw,vers=4.1,softreval,hard,lookupcache=pos`, Refused, "softreval", false},
	{`70 27 0:60 / /q rw,relatime - nfs4 nas:/q rw,vers=4.1,nocto,hard,lookupcache=pos`, Refused, "nocto", false},
	{`70 27 0:60 / /q rw,relatime - nfs4 nas:/q rw,vers=4.0,hard,lookupcache=pos`, Refused, "sessions", false},
	{`70 27 0:60 / /q rw,relatime - nfs nas:/q rw,vers=3,hard,lookupcache=pos`, Refused, "sessions", false},
	{`70 27 0:60 / /q rw,relatime - nfs nas:/q ro,vers=4.1,hard,lookupcache=pos`, Refused, "read-only", false},

	{`80 27 0:70 / /q rw,relatime - cifs //x.file.core.windows.net/q rw,vers=3.1.1,cache=strict,username=x,hard,persistenthandles,serverino,mfsymlinks,nobrl`, Supported, "", false},
	{`80 27 0:70 / /q rw,relatime - smb3 //nas/q rw,vers=3.0,cache=none,hard,noserverino`, Supported, "", false},
	{`80 27 0:70 / /q rw,relatime - cifs //nas/q rw,vers=3.1.1,cache=strict,soft`, Remarked, "outcome-unknown", false},
	{`80 27 0:70 / /q rw,relatime - cifs //nas/q rw,vers=3.1.1,cache=loose,hard`, Refused, "cache", false},
	{`80 27 0:70 / /q rw,relatime - cifs //nas/q rw,vers=3.1.1,cache=singleclient,hard`, Refused, "cache", false},
	{`80 27 0:70 / /q rw,relatime - cifs //nas/q rw,vers=3.1.1,cache=ro,hard`, Refused, "cache", false},
	{`80 27 0:70 / /q rw,relatime - cifs //nas/q rw,vers=3.1.1,cache=strict,nostrictsync,hard`, Refused, "sync", false},
	{`80 27 0:70 / /q rw,relatime - cifs //nas/q rw,vers=1.0,cache=strict,hard`, Refused, "SMB 3", false},
	{`80 27 0:70 / /q rw,relatime - cifs //nas/q rw,vers=2.1,cache=strict,hard`, Remarked, "SMB 3", false},
	{`80 27 0:70 / /q ro,relatime - cifs //nas/q rw,vers=3.0,cache=strict,hard`, Refused, "read-only", false},

	{`90 27 0:25 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=4k`, Refused, "memory", false},
	{`90 27 0:25 / /mnt rw - ramfs none rw`, Refused, "memory", false},
	{`91 27 0:26 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w`, Refused, "volume", false},
	{`92 27 0:27 / /b rw - fuse.s3fs s3fs rw,user_id=0`, Refused, "object store", false},
	{`92 27 0:27 / /b rw - fuse.gcsfuse bucket rw`, Refused, "object store", false},
	{`92 27 0:27 / /b rw - fuse.blobfuse2 blobfuse2 rw`, Refused, "object store", false},
	{`92 27 0:27 / /b rw - fuse.sshfs h:/x rw`, Refused, "two hosts", false},
	{`92 27 0:27 / /b rw - fuse.glusterfs h:/x rw`, Refused, "program", false},
	{`92 27 0:27 / /b rw - fuseblk /dev/sdb1 rw`, Refused, "program", false},
	{`93 27 0:28 / /mnt/c rw - 9p C:\134 rw,aname=drvfs;path=C:\134`, Refused, "program", false},
	{`94 27 0:29 / /v rw - vboxsf v rw`, Refused, "does nothing", false},
	{`95 27 8:2 / /usb rw - vfat /dev/sdb1 rw`, Refused, "power cut", false},
	{`96 27 0:99 / /x rw - newfs2 none rw`, Refused, "not examined", false},
}

func TestVerdicts(t *testing.T) {
	for _, x := range mounts {
		m, err := parseMount(x.line)
		if err != nil {
			t.Error(err)
			continue
		}
		s := judge(m, true)
		if s.Verdict != x.verdict || !strings.Contains(s.Why(), x.why) || (x.why == "") != (len(s.Reasons) == 0) || s.FillsZero != x.fills {
			t.Errorf("%s\n is %q because of %q, zero-filled %v; want %q because of %q", x.line, s.Verdict, s.Why(), s.FillsZero, x.verdict, x.why)
		}
	}
}

// Each rule decides one of the lines above: without it that line's verdict or
// its reasons would be others.
func TestEveryRuleIsTried(t *testing.T) {
	var tried []mount
	for _, x := range mounts {
		m, err := parseMount(x.line)
		if err != nil {
			t.Fatal(err)
		}
		tried = append(tried, m)
	}
	for _, k := range kinds() {
		of := slices.DeleteFunc(slices.Clone(tried), func(m mount) bool { return kindOf(m.kind).title != k.title })
		if len(of) == 0 {
			t.Errorf("no line of %s", k.title)
		}
		for _, r := range k.rules {
			shared := r.why == readOnly().why || r.options[0] == noBarrier().options[0]
			if !shared && !slices.ContainsFunc(of, r.hits) {
				t.Errorf("%s: no line that %v is about", k.title, r.options)
			}
		}
	}
}

func TestWorstVerdictStands(t *testing.T) {
	m, err := parseMount(`70 27 0:60 / /q rw - nfs4 nas:/q rw,vers=4.0,soft,nocto`)
	if err != nil {
		t.Fatal(err)
	}
	if s := judge(m, true); s.Verdict != Refused || len(s.Reasons) != 4 {
		t.Errorf("%s: %q", s.Summary(), s.Reasons)
	}
}

func TestOptionsThatCannotBeRead(t *testing.T) {
	for kind, want := range map[string]Verdict{
		"ext4": Remarked, "nfs": Refused, "cifs": Refused, "tmpfs": Refused, "0x1234": Refused,
	} {
		if s := judge(mount{kind: kind}, false); s.Verdict != want || len(s.Reasons) == 0 {
			t.Errorf("%s: %v", s.Summary(), s.Reasons)
		}
	}
}

func TestParseMount(t *testing.T) {
	m, err := parseMount(`36 35 98:0 /a\040b /mnt/my\040share\134x rw,noatime master:1 shared:2 propagate_from:3 - cifs //h/my\040share rw,username=a\054b,vers=3.0`)
	if err != nil {
		t.Fatal(err)
	}
	want := mount{
		id: 36, point: `/mnt/my share\x`, kind: "cifs", source: "//h/my share",
		options: []string{"rw", "noatime", "rw", "username=a,b", "vers=3.0"},
	}
	if fmt.Sprint(m) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", m, want)
	}
	for _, bad := range []string{
		"", " ", "x 35 98:0 / /mnt rw - ext4 d rw", "36 35 98:0 / /mnt rw", "36 35 98:0 / /mnt rw -",
		"36 35 98:0 / /mnt rw ext4 d rw", "-1 35 98:0 / /mnt rw - ext4 d rw", "36 35 98:0 / /mnt rw -  d rw",
	} {
		if m, err := parseMount(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, m)
		}
	}
	if m, err := parseMount("36 35 0:1 / /mnt rw - tmpfs  rw,size=1"); err != nil || m.source != "" || !m.has("size=1") {
		t.Errorf("without a source: %+v, %v", m, err)
	}
}

// A mount over another has the same path and another id.
func TestFindMountGoesByID(t *testing.T) {
	text := []byte("27 1 254:0 / / rw - ext4 /dev/vda rw\nrubbish\n41 27 0:30 / /q rw - ext4 /dev/b rw\n42 41 0:31 / /q rw - tmpfs t rw\n")
	for id, kind := range map[int]string{27: "ext4", 41: "ext4", 42: "tmpfs"} {
		if m, found, err := findMount(text, id); !found || err != nil || m.kind != kind {
			t.Errorf("%d: %+v %v %v", id, m, found, err)
		}
	}
	if _, found, err := findMount(text, 99); found || err == nil {
		t.Errorf("a mount that is not there: %v, %v", found, err)
	}
	if id, err := mountID([]byte("pos:\t0\nflags:\t02100000\nmnt_id:\t42\nino:\t7\n")); id != 42 || err != nil {
		t.Errorf("mount id %d, %v", id, err)
	}
	if _, err := mountID([]byte("pos:\t0\n")); err == nil {
		t.Error("a mount id from nothing")
	}
}

func FuzzMountinfo(f *testing.F) {
	for _, x := range mounts {
		f.Add([]byte(x.line+"\n"), 27)
	}
	f.Add([]byte("1 2 3 4 5 6 - a b c\\04\\\n\\"), 1)
	f.Fuzz(func(t *testing.T, text []byte, id int) {
		m, found, _ := findMount(text, id)
		if !found {
			return
		}
		if m.id != id {
			t.Errorf("asked for %d, got %d", id, m.id)
		}
		s := judge(m, true)
		if s.Verdict != Supported && s.Why() == "" {
			t.Errorf("%s without a reason", s.Summary())
		}
		if m.has("ro") && s.Verdict != Refused {
			t.Errorf("read-only: %s", s.Summary())
		}
	})
}

func TestSupportOfRealDirectories(t *testing.T) {
	dir := t.TempDir()
	s, err := OS{}.Support(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Type == "" || s.Mount == "" || len(s.Options) == 0 || s.Verdict == "" {
		t.Errorf("%+v", s)
	}
	if _, err := (OS{}).Support(dir + "/none"); !os.IsNotExist(err) {
		t.Errorf("a directory that is not there: %v", err)
	}
	// Every Linux machine has this one, of a type that is in no table.
	s, err = OS{}.Support("/proc/self")
	if err != nil || s.Verdict != Refused || s.Type != "proc" {
		t.Errorf("/proc: %+v, %v", s, err)
	}
}

func TestMagicNamesAreInTheTable(t *testing.T) {
	if got := magicName(0x01021994); got != "tmpfs" {
		t.Error(got)
	}
	if got := magicName(-0x1acb2be); kindOf(got).title != "SMB (Azure Files)" && got != "cifs" {
		t.Errorf("a negative magic: %s", got)
	}
	if got := magicName(0x42); got != "0x42" {
		t.Error(got)
	}
}

const (
	document = "../../docs/filesystems.md"
	tableTop = "<!-- Generated from internal/durable by: go test ./internal/durable -run TestDocument -update -->\n"
	tableEnd = "<!-- End of what is generated. -->\n"
)

// TestDocumentIsCurrent holds the table of the document against the code.
func TestDocumentIsCurrent(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(tableTop))
	_, after, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok || !ok2 {
		t.Fatal("the marks around the table are not there")
	}
	want := slices.Concat(before, []byte(tableTop+"\n"+documentTable()+"\n"+tableEnd), after)
	if *update {
		if err := os.WriteFile(document, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(text, want) {
		t.Error("the table is not current: go test ./internal/durable -run TestDocument -update")
	}
}

// documentTable writes the table in Markdown.
func documentTable() string {
	var b strings.Builder
	b.WriteString("| file system | verdict | because | cannot be seen from the client, or good to know |\n|---|---|---|---|\n")
	for _, k := range kinds() {
		verdicts, whys := []string{string(k.verdict)}, []string{k.why}
		if k.verdict == Supported {
			verdicts[0], whys[0] = "**supported**", ""
		}
		for _, r := range k.rules {
			if r.why == readOnly().why {
				continue // said once, below the table
			}
			options := "`" + strings.Join(r.options, "`, `") + "`"
			if r.need {
				options = "without `" + strings.Join(r.options, "` or `") + "`"
			}
			whys = append(whys, fmt.Sprintf("%s: *%s*: %s", options, r.verdict, r.why))
		}
		whys = slices.DeleteFunc(whys, func(s string) bool { return s == "" })
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", k.title, verdicts[0], strings.Join(whys, "<br>"), strings.Join(k.notes, "<br>"))
	}
	return b.String()
}
