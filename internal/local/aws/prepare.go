//go:build unix

package localaws

import (
	"context"
	_ "embed"

	"github.com/waybillhq/waybill/internal/local/python"
)

//go:embed requirements.txt
var requirements []byte

// The pinned packages decide this: pycparser and rpds-py need 3.11.
const oldestPython = 11

// Prepare makes sure that the Python environment exists and is complete.
//
// It fails as python.Environment.Prepare does.
func Prepare(ctx context.Context, config Config) error {
	config, err := config.complete()
	if err != nil {
		return err
	}
	_, err = prepare(ctx, config)
	return err
}

// prepare returns the interpreter of the environment.
func prepare(ctx context.Context, config Config) (string, error) {
	return python.Environment{Name: "the local AWS", Home: config.Home, Interpreter: config.Python, Oldest: oldestPython, Requirements: requirements,
		Installing: func() { config.Progress("installing the local AWS (once, about 20 s)") }}.Prepare(ctx)
}
