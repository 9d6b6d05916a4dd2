//go:build unix

package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/waybillhq/waybill/internal/job"
)

func TestProgressSaysHowFarHowFastAndHowLong(t *testing.T) {
	j := job.Job{Key: "redrive:q", State: job.Running, Counts: job.Counts{Read: 300, Total: 1000, Rejected: 2}}
	if got := progressText(j, 200, 10*time.Second); got != "redrive:q  running  300/1000  20.0/s  35s left  2 rejected" {
		t.Error(got)
	}
	j = job.Job{Key: "proof:shop:today", State: job.Waiting, Counts: job.Counts{Read: 7}, Failure: "slow down"}
	if got := progressText(j, 0, time.Second); got != "proof:shop:today  waiting  7  waits: slow down" {
		t.Error(got)
	}
	var out bytes.Buffer
	p := newProgress(&out, time.Time{})
	for range 3 {
		p.line(j, time.Time{}.Add(time.Second))
	}
	j.Counts.Read = 8
	p.line(j, time.Time{}.Add(2*time.Second))
	p.end()
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 2 {
		t.Errorf("what does not move is told again: %q", lines)
	}
}
