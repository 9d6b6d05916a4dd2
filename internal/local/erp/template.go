//go:build unix

package erp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/waybillhq/waybill/internal/local/lock"
	"github.com/waybillhq/waybill/internal/local/python"
)

// Prepare makes sure that everything exists which Start needs: the Python
// environment, a database with modules, company and accounts, and a copy of it
// with the seed's products and stock. What exists is used, what was
// interrupted is begun again, and several processes may prepare at once.
//
// It fails as python.Environment.Prepare and python.Run do.
func Prepare(ctx context.Context, config Config) error {
	config, err := config.complete()
	if err != nil {
		return err
	}
	_, _, err = prepare(ctx, config)
	return err
}

// Tryton 8.0 decides this; 7.0 runs on older ones too.
const oldestPython = 10

// steps of a preparation, for Progress.
const steps = 5

// prepare returns the environment's interpreter and the database to copy.
func prepare(ctx context.Context, c Config) (interpreter, database string, err error) {
	b := builder{Config: c}
	b.step(0, "the ERP's Python environment (first time about 20 s)")
	if b.python, err = (python.Environment{Name: "the local ERP", Home: c.Home, Interpreter: c.Python, Oldest: oldestPython, Requirements: c.release().requirements}).Prepare(ctx); err != nil {
		return "", "", err
	}
	base := c.seedFile()
	// Whatever decides what is in the database is in its name, the year for
	// the fiscal years that exist.
	sum, err := digest(filepath.Base(filepath.Dir(filepath.Dir(b.python))), seedScript, modules, c.AdminPassword, base)
	if err != nil {
		return "", "", err
	}
	empty := filepath.Join(c.Home, "database-"+sum+".sqlite")
	if err := b.once(ctx, empty, func(ctx context.Context, dir string) error { return b.base(ctx, dir, base) }); err != nil {
		return "", "", err
	}
	database = empty
	if len(c.Seed.Products) > 0 {
		stocked := base
		stocked.Products = c.Seed.Products
		sum, err := digest(sum, stocked)
		if err != nil {
			return "", "", err
		}
		database = filepath.Join(c.Home, "database-"+sum+".sqlite")
		if err := b.once(ctx, database, func(ctx context.Context, dir string) error { return b.products(ctx, dir, empty, stocked) }); err != nil {
			return "", "", err
		}
	}
	b.step(steps, "the ERP is ready to start")
	return b.python, database, nil
}

type builder struct {
	Config
	python string
	last   string
}

func (b *builder) step(done int, what string) {
	b.Progress(what, done, steps)
	if done < steps && what != b.last {
		_, _ = fmt.Fprintln(b.Log, what) // nothing depends on the log
	}
	b.last = what
}

// once makes a database file unless it exists. It is built in a folder of its
// own and renamed into place, so that a file which exists is complete.
func (b *builder) once(ctx context.Context, path string, build func(ctx context.Context, dir string) error) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	l, err := lock.Wait(path+".lock", time.Now)
	if err != nil {
		return err
	}
	defer func() { _ = l.Release() }() // the kernel releases it anyway
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	dir := path + ".building"
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing an unfinished database: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the folder of the database: %w", err)
	}
	if err := build(ctx, dir); err != nil {
		return err
	}
	// The server keeps recent writes in files beside the database; VACUUM INTO
	// makes one whole and compact file of them.
	done := filepath.Join(dir, "done.sqlite")
	if err := b.command(ctx, dir, "copying the ERP's database", "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', (sys.argv[2],))", filepath.Join(dir, Database+".sqlite"), done); err != nil {
		return err
	}
	if err := os.Rename(done, path); err != nil {
		return fmt.Errorf("keeping the database: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the folder that built the database: %w", err)
	}
	return nil
}

func (b *builder) base(ctx context.Context, dir string, seed seedFile) error {
	conf, err := writeConfig(dir, 0)
	if err != nil {
		return err
	}
	// Tryton insists that the file exists.
	if err := os.WriteFile(filepath.Join(dir, Database+".sqlite"), nil, 0o644); err != nil {
		return fmt.Errorf("creating the ERP's database: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, passwordFile), []byte(b.AdminPassword), 0o600); err != nil {
		return fmt.Errorf("writing the administrator's password: %w", err)
	}
	b.step(1, "initialising the ERP's database (first time about 8 s)")
	if err := b.administer(ctx, dir, "initialising the ERP's database", "-c", conf, "-d", Database, "--all", "--email", "admin@example.com"); err != nil {
		return err
	}
	b.step(2, "activating the ERP's modules (first time about 30 s)")
	argv := append([]string{"-c", conf, "-d", Database, "--activate-dependencies", "-u"}, modules...)
	if err := b.administer(ctx, dir, "activating the ERP's modules", argv...); err != nil {
		return err
	}
	b.step(3, "creating the ERP's company, accounts and fiscal years")
	return b.seed(ctx, dir, "base", conf, seed)
}

func (b *builder) products(ctx context.Context, dir, from string, seed seedFile) error {
	conf, err := writeConfig(dir, 0)
	if err != nil {
		return err
	}
	if err := copyFile(from, filepath.Join(dir, Database+".sqlite")); err != nil {
		return err
	}
	b.step(4, fmt.Sprintf("creating %d products with their stock in the ERP", len(seed.Products)))
	return b.seed(ctx, dir, "products", conf, seed)
}

func (b *builder) seed(ctx context.Context, dir, step, conf string, seed seedFile) error {
	data, err := json.Marshal(seed)
	if err != nil {
		return fmt.Errorf("writing the ERP's seed: %w", err)
	}
	script, input := filepath.Join(dir, "seed.py"), filepath.Join(dir, "seed.json")
	if err := os.WriteFile(script, seedScript, 0o644); err != nil {
		return fmt.Errorf("writing the ERP's seed script: %w", err)
	}
	if err := os.WriteFile(input, data, 0o644); err != nil {
		return fmt.Errorf("writing the ERP's seed: %w", err)
	}
	return b.command(ctx, dir, "seeding the ERP ("+step+")", script, step, conf, Database, input)
}

func (b *builder) administer(ctx context.Context, dir, what string, argv ...string) error {
	admin := slices.Clone(b.release().admin)
	if len(admin) == 1 {
		admin[0] = filepath.Join(filepath.Dir(b.python), admin[0])
	}
	return b.command(ctx, dir, what, append(admin, argv...)...)
}

func (b *builder) command(ctx context.Context, dir, what string, argv ...string) error {
	return python.Run(ctx, python.Command{Step: what, Log: filepath.Join(dir, "build.log"), Interpreter: b.python, Args: argv,
		Env: append(python.Env(), "TRYTONPASSFILE="+filepath.Join(dir, passwordFile))})
}

const passwordFile = "password"

// writeConfig writes the server's configuration into dir and returns its path.
// A transaction keeps more records at hand than by default: a sale with more
// lines than those is read again for every line.
func writeConfig(dir string, port int) (string, error) {
	path := filepath.Join(dir, "trytond.conf")
	text := `[database]
uri = sqlite://
path = ` + dir + `
list = False

[web]
listen = 127.0.0.1:` + strconv.Itoa(port) + `

[cache]
record = 20000

[session]
max_attempt = 100
timeout = 86400
max_age = 604800

[password]
length = 4
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("writing the ERP's configuration: %w", err)
	}
	return path, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("opening the database to copy: %w", err)
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("creating the ERP's database: %w", err)
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("copying the ERP's database: %w", err)
	}
	return nil
}
