package wire

// Waiting is how many bytes were queued and are not out, for those who send much
// and would rather wait than have the client count as slow.
func (c *Conn) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}
