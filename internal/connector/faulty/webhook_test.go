package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillhq/waybill/internal/connector/faulty"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// deliver sends webhooks of single letters, a second apart, through faults
// until none is left, each again half a second after it was refused. It tells
// when each arrived, in seconds, and what its sender was answered. Capitals are
// refused at first.
func deliver(t *testing.T, letters string, rules ...faulty.Rule) (arrived, outcomes string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := vendor()
		v.Sign = func(h http.Header, _ []byte, secret string) { h.Set("Signature", secret) }
		faults := faulty.New(v, 1)
		defer faults.Close()
		if err := faults.Add(rules...); err != nil {
			t.Fatal(err)
		}
		began, tried := time.Now(), map[string]bool{}
		answers := make([]string, len(letters))
		var mu sync.Mutex
		client := &http.Client{Timeout: 5 * time.Second, Transport: faults.Deliveries(roundTrip(func(r *http.Request) (*http.Response, error) {
			letter := r.Header.Get("Letter")
			status := http.StatusOK
			mu.Lock()
			arrived += fmt.Sprintf(" %s%s@%g", letter, r.Header.Get("Signature"), time.Since(began).Seconds())
			if letter < "a" && !tried[letter] {
				status, tried[letter] = http.StatusServiceUnavailable, true
			}
			mu.Unlock()
			return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}, nil
		}), func(h http.Header) string { return strings.ToLower(h.Get("Letter")) })}
		var work sync.WaitGroup
		for n, letter := range strings.Split(letters, "") {
			work.Go(func() {
				for {
					res, err := faulty.Send(t.Context(), client, func(ctx context.Context) (*http.Request, error) {
						r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://hook.example/", strings.NewReader("{}"))
						if err != nil {
							return nil, err
						}
						r.Header.Set("Letter", letter)
						return r, nil
					})
					if errors.Is(err, faulty.ErrLost) {
						answers[n] += " lost"
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					_ = res.Body.Close()
					answers[n] += fmt.Sprintf(" %d", res.StatusCode)
					if res.StatusCode == http.StatusOK {
						return
					}
					time.Sleep(time.Second / 2)
				}
			})
			time.Sleep(time.Second)
		}
		work.Wait()
		synctest.Wait() // for copies, which nobody waits for
		arrived = strings.TrimSpace(arrived)
		for n, a := range answers {
			outcomes += letters[n:n+1] + a + " "
		}
	})
	return arrived, strings.TrimSpace(outcomes)
}

func TestWhatBecomesOfAWebhook(t *testing.T) {
	reordered := func(times int) faulty.Rule { return faulty.Rule{Fault: "webhook_reordered", Times: times} }
	for _, c := range []struct {
		name              string
		letters           string
		rules             []faulty.Rule
		arrived, outcomes string
	}{
		{"without a fault it arrives", "ab", nil, "a@0 b@1", "a 200 b 200"},
		{"refused, it is repeated", "A", nil, "A@0 A@0.5", "A 503 200"},
		{"lost, it is not sent, and its sender is told", "ab", []faulty.Rule{{Fault: "webhook_lost", Operation: "a"}}, "b@1", "a lost b 200"},
		{"lost when it is repeated, it is not sent again", "A", []faulty.Rule{{Fault: "webhook_delayed", Seconds: 2}, {Fault: "webhook_lost"}}, "A@2", "A 503 lost"},
		{"delayed, it arrives later and is answered then", "ab", []faulty.Rule{{Fault: "webhook_delayed", Operation: "a", Seconds: 4}}, "b@1 a@4", "a 200 b 200"},
		{"delayed for longer than its sender waits, it arrives all the same", "ab", []faulty.Rule{{Fault: "webhook_delayed", Operation: "a", Seconds: 3600}}, "b@1 a@3600", "a 200 b 200"},
		{"delayed and refused, it is repeated", "Ab", []faulty.Rule{{Fault: "webhook_delayed", Operation: "a", Seconds: 4}}, "b@1 A@4 A@4.5", "A 503 200 b 200"},
		{"resigned, it has another signature", "ab", []faulty.Rule{{Fault: "webhook_resigned", Secret: "!"}}, "a!@0 b@1", "a 200 b 200"},
		{"reordered, it follows the next one", "abc", []faulty.Rule{reordered(1)}, "b@1 a@1 c@2", "a 200 b 200 c 200"},
		{"reordered and refused, it is repeated", "Abc", []faulty.Rule{reordered(1)}, "b@1 A@1 A@1.5 c@2", "A 503 200 b 200 c 200"},
		{"reordered, and none follows: it waits no longer than 3 s", "a", []faulty.Rule{reordered(1)}, "a@3", "a 200"},
		{"all reordered change places two by two", "abcde", []faulty.Rule{reordered(-1)}, "b@1 a@1 d@3 c@3 e@7", "a 200 b 200 c 200 d 200 e 200"},
		{"two reordered change places with the next one each", "abcde", []faulty.Rule{reordered(2)}, "b@1 a@1 d@3 c@3 e@4", "a 200 b 200 c 200 d 200 e 200"},
		{"reordered, it follows one that is signed otherwise", "ab", []faulty.Rule{reordered(1), {Fault: "webhook_resigned", Secret: "!"}}, "b!@1 a@1", "a 200 b 200"},
		{"reordered, it does not follow one that is lost", "abc", []faulty.Rule{reordered(1), {Fault: "webhook_lost"}}, "c@2 a@2", "a 200 b lost c 200"},
		{"reordered, it follows one that is delayed, when that is sent", "ab", []faulty.Rule{reordered(1), {Fault: "webhook_delayed", Seconds: 1}}, "b@2 a@2", "a 200 b 200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			arrived, outcomes := deliver(t, c.letters, c.rules...)
			if arrived != c.arrived {
				t.Errorf("%q arrived, want %q", arrived, c.arrived)
			}
			if outcomes != c.outcomes {
				t.Errorf("the senders see %q, want %q", outcomes, c.outcomes)
			}
		})
	}
}

func TestACopyOfAWebhookComesBesideIt(t *testing.T) {
	arrived, outcomes := deliver(t, "ab", faulty.Rule{Fault: "webhook_duplicate", Copies: 2})
	if arrived != "a@0 a@0 a@0 b@1" || outcomes != "a 200 b 200" {
		t.Errorf("%q arrived, and the senders see %q", arrived, outcomes)
	}
}

func TestAReorderedWebhookFollowsOneThatHasCopies(t *testing.T) {
	arrived, _ := deliver(t, "ab", faulty.Rule{Fault: "webhook_reordered"}, faulty.Rule{Fault: "webhook_duplicate"})
	if strings.Count(arrived, "b@1") != 2 || strings.Count(arrived, "a@1") != 1 || strings.HasPrefix(arrived, "a") {
		t.Errorf("%q arrived", arrived)
	}
}

func TestAHeldWebhookIsLostWithItsInjectorAndItsSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ends := range []string{"injector", "sender"} {
			faults := faulty.New(vendor(), 1)
			defer faults.Close()
			if err := faults.Add(faulty.Rule{Fault: "webhook_delayed", Seconds: 3600}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			base := roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("it was sent") })
			client := &http.Client{Transport: faults.Deliveries(base, func(http.Header) string { return "a" })}
			result := make(chan error, 1)
			go func() {
				res, err := faulty.Send(ctx, client, func(ctx context.Context) (*http.Request, error) {
					return http.NewRequestWithContext(ctx, http.MethodPost, "http://hook.example/", strings.NewReader("{}"))
				})
				if err == nil {
					_ = res.Body.Close()
				}
				result <- err
			}()
			synctest.Wait()
			if ends == "injector" {
				faults.Close()
			} else {
				cancel()
			}
			if err := <-result; !errors.Is(err, faulty.ErrLost) {
				t.Errorf("the %s ends: %v", ends, err)
			}
		}
	})
}
