package kafkatest

import "syscall"

// tied makes a process group of its own of what is started, and has the kernel
// kill it when the thread that started it ends, as it does with the test.
func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
