package config

import (
	"errors"
	"fmt"
	"regexp"

	"postroad/internal/httpserve"
	"postroad/internal/telemetry"
)

// Stamp are the settings of "postroad stamp": those of a stamp's parts, a
// section each.
type Stamp struct {
	// Stamp says which stamp this is; answers, records and metrics carry it.
	Stamp Identity `yaml:"stamp"`
	// HTTP is the listener that clients and front doors reach the gateway at.
	HTTP httpserve.Options `yaml:"http"`
	// Admin is the listener for operators: probes, metrics, status, console.
	Admin httpserve.AdminOptions `yaml:"admin"`
	// Log says what is logged to standard error, and how.
	Log telemetry.LogOptions `yaml:"log"`
}

// Identity says which stamp this is.
type Identity struct {
	// Name tells this stamp from all others, such as "onprem" or
	// "cloud-green": 1 to 63 of a-z, 0-9 and "-".
	Name string `yaml:"name"`
	// Region is where the stamp stands, for people to read.
	Region string `yaml:"region"`
	// Zone is the part of the region that fails as one, for people to read.
	Zone string `yaml:"zone"`
}

// DefaultStamp are the settings of a production stamp before anything is
// said: clients reach it at port 8081 of every interface, operators from the
// machine itself.
func DefaultStamp() Stamp {
	s := Stamp{
		HTTP:  httpserve.DefaultOptions(),
		Admin: httpserve.DefaultAdminOptions(),
		Log:   telemetry.DefaultLogOptions(),
	}
	s.HTTP.Listen = ":8081"
	return s
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate returns every problem of the identity, joined.
func (i Identity) Validate() error {
	var errs []error
	if !validName.MatchString(i.Name) {
		errs = append(errs, fmt.Errorf("name: %s: must be 1 to 63 of a-z, 0-9 and -, with - only inside", quote(i.Name)))
	}
	for _, f := range []struct{ path, value string }{{"region", i.Region}, {"zone", i.Zone}} {
		if len(f.value) > 128 {
			errs = append(errs, fmt.Errorf("%s: %s: must have at most 128 bytes", f.path, quote(f.value)))
		}
	}
	return errors.Join(errs...)
}
