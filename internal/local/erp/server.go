//go:build unix

package erp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/waybillhq/waybill/internal/local/lock"
	"github.com/waybillhq/waybill/internal/local/process"
	"github.com/waybillhq/waybill/internal/local/python"
)

const (
	startTime = 60 * time.Second // far above the 2 s it takes; a first start compiles
	stopTime  = 5 * time.Second
)

// Server is a running ERP.
type Server struct {
	URL string // http://127.0.0.1:18000
	// RPC is the address of the database's methods.
	RPC      string
	Database string
	User     string
	Password string
	// Settings are the connector's settings for this database.
	Settings json.RawMessage
	Process  *process.Process

	spec process.Spec
	root string // the address of the server's own methods
}

// Start prepares what is missing, gives the server a fresh copy of the
// database and waits until it answers. The server ends with us, even when we
// are killed.
//
// It fails with a *lock.PortError when the port is taken, with a *StartError
// when the server ends early, and as Prepare does.
func Start(ctx context.Context, config Config) (*Server, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	if config.Port == AnyPort {
		if config.Port, err = lock.FreePort(ctx); err != nil {
			return nil, err
		}
	} else if err := lock.Free(ctx, config.Port); err != nil {
		return nil, fmt.Errorf("starting the local ERP: %w", err)
	}
	interpreter, template, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	database := filepath.Join(config.Dir, Database+".sqlite")
	// What an earlier server left beside its database would be replayed into
	// the new one.
	for _, left := range []string{database, database + "-wal", database + "-shm"} {
		if err := os.Remove(left); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("removing the ERP's earlier database: %w", err)
		}
	}
	if err := copyFile(template, database); err != nil {
		return nil, err
	}
	conf, err := writeConfig(config.Dir, config.Port)
	if err != nil {
		return nil, err
	}
	script := filepath.Join(config.Dir, "serve.py")
	if err := os.WriteFile(script, serveScript, 0o644); err != nil {
		return nil, fmt.Errorf("writing the ERP's start script: %w", err)
	}
	settings, err := config.settings()
	if err != nil {
		return nil, err
	}
	spec := process.Spec{
		Name: "the local ERP", Path: interpreter, Args: []string{script, "-c", conf, "-d", Database},
		// Tryton's assertions look at every record for every record: with them,
		// an order of 2,000 lines takes many times as long to process.
		Env: append(python.Env(), "PYTHONOPTIMIZE=1"), Dir: config.Dir, Log: filepath.Join(config.Dir, "erp.log"), Lifeline: true,
	}
	s := &Server{spec: spec, root: config.url() + config.release().rpc, URL: config.url(), RPC: config.url() + "/" + Database + config.release().rpc, Database: Database, User: User, Password: config.AdminPassword, Settings: settings}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) run(ctx context.Context) (err error) {
	if s.Process, err = process.Start(s.spec); err != nil {
		return err
	}
	if err := s.wait(ctx, s.root); err != nil {
		s.Process.Kill()
		return err
	}
	return nil
}

// Kill ends the server at once, in the middle of whatever it does, and returns
// once it is gone. Restart brings it back with the database that it left.
func (s *Server) Kill() {
	s.Process.Kill()
	<-s.Process.Done()
}

// Restart starts a killed server again, on the same port and database.
func (s *Server) Restart(ctx context.Context) error { return s.run(ctx) }

func (c Config) url() string { return "http://127.0.0.1:" + strconv.Itoa(c.Port) }

// settings are the connector's settings; what is not here has the default that
// the seed follows too.
func (c Config) settings() (json.RawMessage, error) {
	b, err := json.Marshal(map[string]any{
		"url": c.url(), "database": Database, "user": User, "series": c.Series,
		"company": c.Seed.Company, "currency": c.Seed.Currency, "warehouse": c.Seed.Warehouse,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the connector's settings: %w", err)
	}
	return b, nil
}

// Stop ends the server and returns once it is gone.
func (s *Server) Stop(ctx context.Context) error { return s.Process.Stop(ctx, stopTime) }

// StartError says that the server ended, or did not answer, while starting.
type StartError struct {
	Log  string
	Tail string
	Err  error
}

func (e *StartError) Error() string {
	return fmt.Sprintf("starting the local ERP: %v\n%s\nThe whole log is %s", e.Err, e.Tail, e.Log)
}

func (e *StartError) Unwrap() error { return e.Err }

var errSilent = errors.New("it does not answer")

func (s *Server) wait(ctx context.Context, server string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, errSilent)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	failed := func(err error) error {
		return &StartError{Log: s.Process.Log(), Tail: process.Tail(s.Process.Log(), 15), Err: err}
	}
	for {
		// A call without a login that the server answers once its modules are
		// loaded.
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server, strings.NewReader(`{"id":0,"method":"common.server.version","params":[]}`))
		if err != nil {
			return fmt.Errorf("asking for the ERP's version: %w", err)
		}
		req.Header.Set("Content-Type", "application/json")
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.Process.Done():
			err := s.Process.Err()
			if err == nil {
				err = errors.New("it ended at once")
			}
			return failed(err)
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, errSilent) {
				return fmt.Errorf("starting the local ERP: %w", cause)
			}
			return failed(errSilent)
		case <-tick.C:
		}
	}
}
