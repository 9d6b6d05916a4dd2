// Package drivertest is what every keeper of payloads must pass, in S3 or in
// memory.
package drivertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/waybillhq/waybill/internal/fault"
)

// Bucket is one empty bucket.
type Bucket interface {
	Put(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
}

// Run holds what open returns to all of it; each test opens its own.
func Run(t *testing.T, open func(t *testing.T) Bucket) {
	for _, x := range []struct {
		name string
		run  func(t *testing.T, b Bucket)
	}{
		{"WhatWasPutIsReadByteForByte", whole},
		{"WhatWasNeverPutIsMissingForGood", missing},
		{"TheLastPutIsRead", overwritten},
		{"WhatIsKeptIsNobodysMemory", nobodysMemory},
		{"KeysAreListedInOrderFromAnyKeyOn", listed},
		{"AnEndedContextDoesNothing", ended},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(t, open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, b Bucket, key string, want []byte) {
	t.Helper()
	if got, err := b.Get(t.Context(), key); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, want %d; %v", key, len(got), len(want), err)
	}
}

func whole(t *testing.T, b Bucket) {
	bodies := map[string][]byte{
		"raw/inbox/acme/2026/03/01/a.json": []byte("{\"a\": 1}\r\n"), "raw/empty": {}, "raw/bytes": {0, 255, 10, 13, 0},
		"raw/a key/with ümlauts+and%20signs?#": []byte("x"), "raw/large": bytes.Repeat([]byte("0123456789abcdef"), 6<<16), // 6 MiB
	}
	for k, body := range bodies {
		must(t, b.Put(t.Context(), k, body))
	}
	for k, body := range bodies {
		read(t, b, k, body)
	}
}

func missing(t *testing.T, b Bucket) {
	must(t, b.Put(t.Context(), "raw/acme/2", []byte("x")))
	for _, key := range []string{"raw/acme/1", "raw/acme/", "raw/acme/22", "RAW/acme/2"} {
		_, err := b.Get(t.Context(), key)
		if f := fault.Of(err); f == nil || f.Kind != fault.Permanent || f.Class != fault.MissingReference || f.Value != key {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func overwritten(t *testing.T, b Bucket) {
	for _, body := range []string{"first", "second, and longer", "3"} {
		must(t, b.Put(t.Context(), "k", []byte(body)))
		read(t, b, "k", []byte(body))
	}
}

func listed(t *testing.T, b Bucket) {
	var want []string
	for i := range 1103 {
		key := fmt.Sprintf("raw/acme/%04d", i)
		want = append(want, key)
		must(t, b.Put(t.Context(), key, []byte("x")))
	}
	must(t, b.Put(t.Context(), "raw/acme2/0000", []byte("x")))
	for _, c := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 2000, want}, {"", 3, want[:3]}, {want[4], 2, want[5:7]}, {want[1], 1101, want[2:]}, {"raw/acme/0004x", 1, want[5:6]}, {want[1102], 5, nil},
	} {
		got, err := b.List(t.Context(), "raw/acme/", c.after, c.limit)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("after %q up to %d: %d keys, want %d; %v", c.after, c.limit, len(got), len(c.want), err)
		}
	}
	if got, err := b.List(t.Context(), "raw/nobody/", "", 5); err != nil || len(got) > 0 {
		t.Errorf("of nobody: %v, %v", got, err)
	}
}

func nobodysMemory(t *testing.T, b Bucket) {
	body := []byte("body")
	must(t, b.Put(t.Context(), "k", body))
	body[0] = 'B'
	read(t, b, "k", []byte("body"))
	got, err := b.Get(t.Context(), "k")
	must(t, err)
	got[0] = 'B'
	read(t, b, "k", []byte("body"))
}

func ended(t *testing.T, b Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Put(ctx, "k", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := b.Get(t.Context(), "k"); fault.KindOf(err) != fault.Permanent {
		t.Errorf("it was put: %v", err)
	}
}
