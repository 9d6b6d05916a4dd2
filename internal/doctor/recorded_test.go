package doctor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"testing"
)

// Every recorded answer is one that HTTP can read, with a body of the declared kind.
func TestTheRecordedAnswersAreWellFormed(t *testing.T) {
	n := 0
	files := os.DirFS("testdata")
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".http" {
			return err
		}
		n++
		raw, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if strings.Contains(res.Header.Get("Content-Type"), "json") && !json.Valid(body) {
			t.Errorf("%s is no JSON", name)
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Fatalf("%d answers: %v", n, err)
	}
}
