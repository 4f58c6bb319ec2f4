package telemetry

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Version says which build this is.
type Version struct {
	// Version is the release, or "dev" for a build that is none.
	Version string `json:"version"`
	// Revision is the commit built, empty where the build did not record it.
	Revision string `json:"revision,omitempty"`
	// Time is when that commit was made, in RFC 3339.
	Time string `json:"time,omitempty"`
	// Modified says that the working tree held changes beside the commit.
	Modified bool `json:"modified,omitempty"`
	// Go is the version of the compiler.
	Go string `json:"go"`
	// Platform is operating system/architecture.
	Platform string `json:"platform"`
}

// CurrentVersion is the version of the running binary: linked, which the
// linker gave to package main or which is empty, else what the compiler
// recorded.
func CurrentVersion(linked string) Version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return versionFrom(linked, info)
}

func versionFrom(linked string, info *debug.BuildInfo) Version {
	v := Version{
		Version:  strings.TrimPrefix(linked, "v"),
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	if v.Version == "" && info.Main.Version != "(devel)" {
		v.Version = strings.TrimPrefix(info.Main.Version, "v")
	}
	if v.Version == "" {
		v.Version = "dev"
	}
	return v
}

// String is one line for a person.
func (v Version) String() string {
	s := "postroad " + v.Version
	if v.Revision != "" {
		s += fmt.Sprintf(" (%.12s", v.Revision)
		if v.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return s + " " + v.Go + " " + v.Platform
}
