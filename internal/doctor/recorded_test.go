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
	"path/filepath"
	"strings"
	"testing"
)

// Every recorded answer is one that HTTP can read, with a body of the declared kind.
func TestTheRecordedAnswersAreWellFormed(t *testing.T) {
	n := 0
	err := filepath.WalkDir("testdata", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".http" {
			return err
		}
		n++
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if strings.Contains(res.Header.Get("Content-Type"), "json") && !json.Valid(body) {
			t.Errorf("%s is no JSON", path)
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Fatalf("%d answers: %v", n, err)
	}
}
