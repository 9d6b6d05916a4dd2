//go:build unix

package upgrade_test

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// base is the commit whose version is upgraded from. It is moved forward once a
// later one has been deployed by partners, and no further back than readers
// accept.
//
//go:embed BASE
var base string

var commit = regexp.MustCompile(`^[0-9a-f]{40}\n$`)

func TestTheBaseIsAFullCommit(t *testing.T) {
	if !commit.MatchString(base) {
		t.Fatalf("BASE holds %q, not one full commit id and a line's end", base)
	}
}

// source returns a folder with the base's source, taken out of the repository's
// history once. A clone that lacks the commit asks its origin for it.
func source(ctx context.Context, root string) (string, error) {
	id := strings.TrimSpace(base)
	dir := filepath.Join(root, ".waybill", "base", id)
	if _, err := os.Stat(filepath.Join(dir, "template.yaml")); err == nil {
		return dir, nil
	}
	if err := exec.CommandContext(ctx, "git", "-C", root, "cat-file", "-e", id+"^{commit}").Run(); err != nil {
		if out, err := exec.CommandContext(ctx, "git", "-C", root, "fetch", "--quiet", "--depth=1", "origin", id).CombinedOutput(); err != nil {
			return "", fmt.Errorf("commit %s of test/upgrade/BASE is not in this clone, and its origin does not give it (git fetch --unshallow brings all of them): %w\n%s", id, err, out)
		}
	}
	out, err := exec.CommandContext(ctx, "git", "-C", root, "archive", "--format=tar", id).Output()
	if err != nil {
		return "", fmt.Errorf("reading commit %s: %w", id, err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), "half-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(half) }()
	if err := unpack(out, half); err != nil {
		return "", fmt.Errorf("unpacking commit %s: %w", id, err)
	}
	if err := os.Rename(half, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

func unpack(archive []byte, dir string) error {
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			continue // git's own header
		}
		path := filepath.Join(dir, h.Name) // #nosec G305 -- local, as just checked
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeReg:
			var body []byte
			if body, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, body, 0o755) //nolint:gosec // scripts stay executable
			}
		}
		if err != nil {
			return err
		}
	}
}
