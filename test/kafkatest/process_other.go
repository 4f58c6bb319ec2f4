//go:build !linux

package kafkatest

import "syscall"

// tied makes a process group of its own of what is started. Only Linux kills it
// where the test ends without a chance to.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
