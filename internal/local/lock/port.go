//go:build unix

package lock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// PortError says that a port is taken.
type PortError struct{ Port int }

func (e *PortError) Error() string {
	return fmt.Sprintf("port %d is in use: stop the program that listens there (lsof -i :%d names it) or choose another port", e.Port, e.Port)
}

// Free returns a *PortError when something listens on the port of the local
// host. The port may be taken a moment later; whoever binds it must still look.
func Free(ctx context.Context, port int) error {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return &PortError{Port: port}
	}
	if err != nil {
		return fmt.Errorf("trying port %d: %w", port, err)
	}
	return l.Close()
}

// FreePort returns a port that nothing listens on.
func FreePort(ctx context.Context) (int, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return 0, fmt.Errorf("giving back port %d: %w", port, err)
	}
	return port, nil
}
