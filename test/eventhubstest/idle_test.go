package eventhubstest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// virtual starts a double in virtual time, and says how it is reached.
func virtual(t *testing.T, o Options) (*Double, func(context.Context, string, string) (net.Conn, error)) {
	t.Helper()
	var network kfake.VirtualNetwork
	o.Listen = network.Listen
	d := Start(t, o)
	return d, func(ctx context.Context, kind, addr string) (net.Conn, error) {
		raw, err := network.DialContext(ctx, kind, addr)
		if err != nil {
			return nil, err
		}
		return tls.Client(raw, d.ClientTLS()), nil
	}
}

// A connection that was silent for four minutes brings no more answers: either it
// is reset, or nothing ever comes.
func TestIdleConnection(t *testing.T) {
	for _, reset := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d, dial := virtual(t, Options{IdleReset: reset})
			conn, err := dial(t.Context(), "tcp", d.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, silence := range []time.Duration{0, IdleLimit - time.Second, IdleLimit + time.Second} {
				<-time.After(silence)
				err := conn.SetDeadline(time.Now().Add(time.Minute))
				if err == nil {
					_, err = conn.Write(frame(kmsg.NewPtrApiVersionsRequest()))
				}
				if err == nil {
					_, err = answer(conn)
				}
				if silence < IdleLimit && err != nil {
					t.Errorf("after %v: %v", silence, err)
				}
				var late net.Error
				if silence > IdleLimit && (err == nil || !reset && (!errors.As(err, &late) || !late.Timeout()) || reset && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe)) {
					t.Errorf("reset %v, after %v: %v", reset, silence, err)
				}
			}
			if n := d.Refused(Idle); n != 1 {
				t.Errorf("%d connections were idle", n)
			}
		})
	}
}

// A client's limit for idle connections may be overrun twofold (see
// kgo.ConnIdleTimeout), so that one of 180 s, as Microsoft advises, is too long for
// franz-go, and one below 120 s is not.
func TestIdleLimitOfClients(t *testing.T) {
	for idle, dies := range map[time.Duration]bool{180 * time.Second: true, 110 * time.Second: false} {
		synctest.Test(t, func(t *testing.T) {
			d, dial := virtual(t, Options{})
			c := clientBy(t, d, kgo.Dialer(dial), kgo.ConnIdleTimeout(idle), kgo.MetadataMaxAge(time.Hour))
			// Just after the client has looked for idle connections.
			<-time.After(idle + time.Second)
			if err := c.ProduceSync(t.Context(), record("x")).FirstErr(); err != nil {
				t.Fatal(err)
			}
			<-time.After(IdleLimit + 10*time.Second)
			if n := d.Refused(Idle); (n > 0) != dies {
				t.Errorf("limit %v: %d connections were idle for too long", idle, n)
			}
		})
	}
}
