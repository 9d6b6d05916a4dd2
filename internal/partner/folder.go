package partner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var ofRetailer = regexp.MustCompile(`(?m)^tenant[ \t]*:`)

// retailerFiles lists the retailers' files in the order of their names, and
// refuses what somebody may take for one that would not be read. Hidden files
// are an editor's or a system's.
func retailerFiles(dir string, problems *Problems) []string {
	wrong := func(path, wrong, right string) {
		*problems = append(*problems, Problem{File: path, Wrong: wrong, Right: right})
	}
	for _, name := range yamlFiles(dir) {
		path := filepath.Join(dir, name)
		switch {
		case name == "partner.yaml":
		case strings.EqualFold(stem(name), "partner"):
			wrong(path, "the file is not read", "the partner's file is named partner.yaml")
		default:
			if raw, unread, _ := read(path); unread == "" && ofRetailer.Match(raw) {
				wrong(path, "a retailer's file is not read here", "move it to "+filepath.Join(dir, "retailers", stem(name)+".yaml"))
			}
		}
	}
	home := filepath.Join(dir, "retailers")
	entries, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		wrong(home, cause(err), "a folder with a file <tenant>.yaml for each retailer")
		return nil
	}
	var files []string
	for _, e := range entries {
		path := filepath.Join(home, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case filepath.Ext(e.Name()) == ".yaml":
			files = append(files, path)
		case e.IsDir():
			for _, below := range yamlBelow(path) {
				wrong(below, "a file in a folder below retailers is not read", "move it to "+filepath.Join(home, stem(below)+".yaml"))
			}
		case isYAML(e.Name()):
			wrong(path, "the file is not read, as its name does not end with .yaml", "name it "+stem(path)+".yaml")
		}
	}
	if len(files) == 0 {
		wrong(home, "there is no retailer's file", "add retailers/<tenant>.yaml")
	}
	return files
}

func yamlFiles(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // the missing partner.yaml is told
	}
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && isYAML(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

func yamlBelow(dir string) (paths []string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(filepath.Base(path), ".")
		switch {
		case err != nil || hidden && e.IsDir():
			return fs.SkipDir
		case !e.IsDir() && !hidden && isYAML(path):
			paths = append(paths, path)
		}
		return nil
	})
	return paths
}

func isYAML(name string) bool {
	ext := filepath.Ext(name)
	return strings.EqualFold(ext, ".yaml") || strings.EqualFold(ext, ".yml")
}

func stem(path string) string {
	name := filepath.Base(path)
	return strings.TrimSuffix(name, filepath.Ext(name))
}
