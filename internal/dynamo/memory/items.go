package memory

import (
	"maps"
	"slices"
)

// Items shows every item that is stored, in order, by the name of its table;
// bodies are JSON as []byte. What is seen must not be changed.
func (s *Store) Items(see func(table, partition, sort string, item any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := [tables]string{documents: "documents", inventory: "inventory", events: "inbox", exceptions: "exceptions", audit: "audit",
		rates: "rates", persons: "person", config: "config", credentials: "credentials", jobs: "jobs"}
	for t, name := range names {
		for _, p := range slices.Sorted(maps.Keys(s.tables[t])) {
			for _, k := range slices.Sorted(maps.Keys(s.tables[t][p])) {
				v := s.tables[t][p][k]
				if b, ok := v.(encoded); ok {
					v = []byte(b)
				}
				see(name, p, k, v)
			}
		}
	}
}
