package build

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/flate"
)

// level is within two percent of the smallest that there is, at half the price
// of the standard library's usual one: a change of a shared package packs every
// function anew.
const level = 7

// packed is the time of every archive's entry: the earliest that a zip holds.
var packed = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// pack writes the archive of an executable unless it is there already. The
// hash of the executable that an archive was made of lies beside it.
func pack(executable, archive string) error {
	code, err := os.ReadFile(executable)
	if err != nil {
		return fmt.Errorf("reading an executable: %w", err)
	}
	sum := sha256.Sum256(code)
	want, mark := hex.EncodeToString(sum[:]), archive+".of"
	if got, err := os.ReadFile(mark); err == nil && string(got) == want {
		if _, err := os.Stat(archive); err == nil {
			return nil
		}
	}
	// Without its mark an archive that is only half written is made again.
	if err := os.Remove(mark); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("removing the mark of an old archive: %w", err)
	}
	data, err := zipped(code)
	if err != nil {
		return fmt.Errorf("packing a function: %w", err)
	}
	if err := os.WriteFile(archive, data, 0o644); err != nil {
		return fmt.Errorf("writing an archive: %w", err)
	}
	if err := os.WriteFile(mark, []byte(want), 0o644); err != nil {
		return fmt.Errorf("marking an archive complete: %w", err)
	}
	return nil
}

func zipped(code []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, level)
	})
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: packed}
	header.SetMode(0o755)
	entry, err := w.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := entry.Write(code); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
