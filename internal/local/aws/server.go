//go:build unix

package localaws

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/waybillhq/waybill/internal/local/lock"
	"github.com/waybillhq/waybill/internal/local/process"
)

//go:embed boot.py
var boot []byte

const (
	startTime = 60 * time.Second // far above the 1 s it takes; a first start compiles
	stopTime  = 5 * time.Second
)

// Server is a running emulator.
type Server struct {
	// Endpoint is the base URL of every service, for AWS_ENDPOINT_URL.
	Endpoint string
	Account  string
	Region   string
	Process  *process.Process
}

// Start prepares the environment if need be, starts the emulator and waits
// until it answers. The emulator and the Lambda workers that it starts end
// with us, even when we are killed.
//
// It fails with a *lock.PortError when the port is taken and with a
// *StartError when the emulator ends early.
func Start(ctx context.Context, config Config) (*Server, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	python, err := prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	if config.Port == 0 {
		if config.Port, err = lock.FreePort(ctx); err != nil {
			return nil, err
		}
	} else if err := lock.Free(ctx, config.Port); err != nil {
		return nil, fmt.Errorf("starting the local AWS: %w", err)
	}
	env, err := config.environment()
	if err != nil {
		return nil, err
	}
	script := filepath.Join(config.Dir, "boot.py")
	if err := os.WriteFile(script, boot, 0o644); err != nil {
		return nil, fmt.Errorf("writing the emulator's boot script: %w", err)
	}
	p, err := process.Start(process.Spec{
		Name: "the local AWS", Path: python, Args: []string{script, "--lifeline"},
		Env: env, Dir: config.Dir, Log: config.Log, Lifeline: true,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{Endpoint: endpoint(config.Port), Account: config.Account, Region: Region, Process: p}
	if err := s.wait(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	return s, nil
}

func endpoint(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) }

// environment is all that the emulator sees. It hands its own environment on to
// every Lambda function, so one more variable here would hide that a function
// lacks it on AWS; HOME is private so that no AWS profile is found either.
func (c Config) environment() ([]string, error) {
	home, tmp := filepath.Join(c.Dir, "home"), filepath.Join(c.Dir, "tmp")
	for _, dir := range []string{home, tmp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("creating the emulator's folders: %w", err)
		}
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + tmp,
		"GATEWAY_PORT=" + strconv.Itoa(c.Port), "BIND_HOST=127.0.0.1", "MINISTACK_HOST=localhost",
		"MINISTACK_ACCOUNT_ID=" + c.Account, "MINISTACK_REGION=" + Region, "AWS_ENDPOINT_URL=" + endpoint(c.Port),
		"SFTP_ENABLED=0", "IOT_MTLS_ENABLED=0",
		"STATE_DIR=" + filepath.Join(c.Dir, "state"), "S3_DATA_DIR=" + filepath.Join(c.Dir, "s3"),
	}
	if c.Persist {
		env = append(env, "PERSIST_STATE=1", "S3_PERSIST=1")
	}
	if c.EnforceIAM {
		env = append(env, "AUTH=true")
	}
	return env, nil
}

// StartError says that the emulator ended, or did not answer, while starting.
type StartError struct {
	Log  string
	Tail string
	Err  error
}

func (e *StartError) Error() string {
	return fmt.Sprintf("starting the local AWS: %v\n%s\nThe whole log is %s", e.Err, e.Tail, e.Log)
}

func (e *StartError) Unwrap() error { return e.Err }

var errSilent = errors.New("it does not answer")

func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, errSilent)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+"/_ministack/health", nil)
		if err != nil {
			return fmt.Errorf("asking for the emulator's health: %w", err)
		}
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
			return &StartError{Log: s.Process.Log(), Tail: process.Tail(s.Process.Log(), 12), Err: err}
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, errSilent) {
				return fmt.Errorf("starting the local AWS: %w", cause)
			}
			return &StartError{Log: s.Process.Log(), Tail: process.Tail(s.Process.Log(), 12), Err: errSilent}
		case <-tick.C:
		}
	}
}

// Stop ends the emulator and all it started. With Persist, state is written
// now. A ctx that has ended makes it immediate and loses that state.
func (s *Server) Stop(ctx context.Context) error { return s.Process.Stop(ctx, stopTime) }

// APIURL is the address of an HTTP API's $default stage.
func (s *Server) APIURL(apiID string) string {
	return s.Endpoint + "/_aws/execute-api/" + apiID + "/$default"
}
