//go:build unix

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/local/demo"
	"github.com/waybillhq/waybill/internal/local/lock"
)

// Local is .waybill/local.json: what other programs need of a running
// platform. Fields are only ever added.
type Local struct {
	PID         int               `json:"pid"`
	StartedAt   time.Time         `json:"started_at"`
	APIURL      string            `json:"api_url"`
	AWSEndpoint string            `json:"aws_endpoint"`
	Account     string            `json:"account"`
	Region      string            `json:"region"`
	Stack       string            `json:"stack"`
	Outputs     map[string]string `json:"outputs"`
	Partner     string            `json:"partner"`
	Retailers   []LocalRetailer   `json:"retailers"`
	ERP         LocalERP          `json:"erp"`
	// Variables are what ${NAME} of the demo partner's files stands for.
	Variables map[string]string `json:"variables"`
}

// LocalRetailer is one retailer of the demo partner.
type LocalRetailer struct {
	Tenant      string            `json:"tenant"`
	Connections []LocalConnection `json:"connections"`
}

// LocalConnection is one connection; webhook fields are empty for one that
// delivers nothing.
type LocalConnection struct {
	ID            string `json:"id"`
	Connector     string `json:"connector"`
	WebhookURL    string `json:"webhook_url"`
	WebhookSecret string `json:"webhook_secret"`
	SimulatorURL  string `json:"simulator_url"`
}

// LocalERP is the ERP's address, where faults can be switched on, and its
// administrator.
type LocalERP struct {
	URL      string `json:"url"`
	Database string `json:"database"`
	User     string `json:"user"`
	Password string `json:"password"`
}

func localOf(d *demo.Demo, now time.Time) Local {
	l := Local{PID: os.Getpid(), StartedAt: now.UTC(), APIURL: d.APIURL, AWSEndpoint: d.AWS.Endpoint, Account: d.AWS.Account,
		Region: d.AWS.Region, Stack: demo.StackName, Outputs: d.Outputs, Partner: "demo", Variables: d.Variables,
		ERP: LocalERP{d.ERPURL, d.ERP.Database, d.ERP.User, d.ERP.Password}}
	r := LocalRetailer{Tenant: d.Tenant.String()}
	for _, c := range d.Retailer.Connections {
		lc := LocalConnection{ID: c.ID, Connector: c.Connector, SimulatorURL: map[string]string{demo.Shop: d.ShopURL, demo.Warehouse: d.StockURL, demo.ERP: d.ERPURL}[c.ID]}
		if c.Hook != "" {
			lc.WebhookURL, lc.WebhookSecret = d.HookURL(c.ID), demo.WebhookSecret(c.ID)
		}
		r.Connections = append(r.Connections, lc)
	}
	l.Retailers = []LocalRetailer{r}
	return l
}

func localPath(root string) string { return filepath.Join(root, ".waybill", "local.json") }
func lockPath(root string) string  { return filepath.Join(root, ".waybill", "up.lock") }

// write puts the file in place at once, readable by its owner alone: it holds
// the local ERP's password.
func (l Local) write(root string) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("writing local.json: %w", err)
	}
	next := localPath(root) + ".new"
	if err := os.WriteFile(next, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing local.json: %w", err)
	}
	return os.Rename(next, localPath(root))
}

var errNotRunning = errors.New("nothing runs here; start it with: go run . up")

// running reads local.json of the platform that runs in this repository. What
// an ended run left behind is removed.
func running(root string) (Local, error) {
	var l Local
	held, err := lock.Acquire(lockPath(root), time.Now)
	var other *lock.HeldError
	switch {
	case err == nil:
		// Removed under the lock, so that it is never the file of a run that
		// begins meanwhile.
		stale := os.Remove(localPath(root)) == nil
		if err := held.Release(); err != nil {
			return l, err
		}
		if stale {
			return l, fmt.Errorf("a stale local.json of an ended run was removed: %w", errNotRunning)
		}
		return l, errNotRunning
	case errors.Is(err, fs.ErrNotExist):
		return l, errNotRunning
	case !errors.As(err, &other):
		return l, err
	}
	l.PID = other.PID
	b, err := os.ReadFile(localPath(root))
	if errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("process %d is still starting: %w", other.PID, errStarting)
	}
	if err != nil {
		return l, fmt.Errorf("reading local.json: %w", err)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("%s is damaged (%w); run: go run . down", localPath(root), err)
	}
	return l, nil
}

var errStarting = errors.New("wait until it shows its address")

// attach opens the running platform's state.
func attach() (Local, *boot.Platform, error) {
	top, err := root()
	if err != nil {
		return Local{}, nil, err
	}
	l, err := running(top)
	if err != nil {
		return l, nil, err
	}
	return l, demo.Attach(l.AWSEndpoint, l.Region, l.Account, l.Outputs, slog.New(slog.DiscardHandler)), nil
}

type down struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run stops the running platform and waits until it is gone.
func (c down) Run(ctx context.Context, s streams) error {
	top, err := root()
	if err != nil {
		return err
	}
	l, err := running(top)
	if errors.Is(err, errNotRunning) {
		return c.say(s, false, "nothing was running")
	}
	if err != nil && l.PID == 0 {
		return err
	}
	if err := syscall.Kill(l.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stopping process %d: %w", l.PID, err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		held, err := lock.Acquire(lockPath(top), time.Now)
		if err == nil {
			_ = os.Remove(localPath(top)) // the run that ended may have done it
			if err := held.Release(); err != nil {
				return err
			}
			return c.say(s, true, fmt.Sprintf("stopped process %d and all it had started", l.PID))
		}
		select {
		case <-limit.Done():
			return fmt.Errorf("process %d does not end; kill it with: kill -9 %d (its children end with it)", l.PID, l.PID)
		case <-tick.C:
		}
	}
}

func (c down) say(s streams, stopped bool, text string) error {
	if c.JSON {
		return printJSON(s.out, map[string]bool{"stopped": stopped})
	}
	_, err := fmt.Fprintln(s.out, text)
	return err
}

type status struct {
	JSON bool `name:"json" help:"Print JSON: the whole local.json, or running: false."`
}

// Run prints what runs; exit code 1 if nothing does.
func (c status) Run(s streams) error {
	top, err := root()
	if err != nil {
		return err
	}
	l, err := running(top)
	if c.JSON {
		if err != nil {
			if jerr := printJSON(s.out, map[string]any{"running": false, "reason": err.Error()}); jerr != nil {
				return jerr
			}
			return errSilent
		}
		return printJSON(s.out, struct {
			Running bool `json:"running"`
			Local
		}{true, l})
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(s.out, "running since %s, process %d\n  API  %s\n  AWS  %s (account %s)\n  ERP  %s (database %s, user %s)\n",
		l.StartedAt.Local().Format(time.DateTime), l.PID, l.APIURL, l.AWSEndpoint, l.Account, l.ERP.URL, l.ERP.Database, l.ERP.User)
	for _, r := range l.Retailers {
		for _, x := range r.Connections {
			_, _ = fmt.Fprintf(s.out, "  %s/%s  %s  %s\n", r.Tenant, x.ID, x.Connector, x.SimulatorURL)
		}
	}
	return nil
}
