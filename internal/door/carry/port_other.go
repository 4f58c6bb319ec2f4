//go:build !linux

package carry

import "syscall"

func latePort(string, string, syscall.RawConn) error { return nil }

// quiet cannot look without reading here: a line that was closed meanwhile is
// found out when it is written to.
func (w *wire) quiet() bool { return true }
