package embedwire

import (
	"math"
	"testing"
	"time"
)

func pacerOf(running int) pacer { return pacer{most: 8, allowed: 8, running: running} }

// What is overloaded lowers the number of calls to those that run, and each completed call raises it by a part.
func TestPacerOverloaded(t *testing.T) {
	now := time.Now()
	pace := pacerOf(8)
	for range 6 {
		pace.ended(now, &sending{began: now, rejections: []rejection{{overloaded, now.Add(time.Hour)}}})
	}
	if pace.running != 2 || pace.allowed != 2 || pace.maySend(now) {
		t.Fatalf("got %+v", pace)
	}
	pace.ended(now, &sending{isAnswered: true})
	if pace.allowed != 2.5 || !pace.maySend(now) || pace.paused != 0 {
		t.Fatalf("got %+v", pace)
	}
	for range 100 {
		pace.running++
		pace.ended(now, &sending{isAnswered: true})
	}
	if pace.allowed != 8 {
		t.Errorf("got %+v", pace)
	}
}

// If no call runs, what is overloaded waits as long as the server says.
func TestPacerOverloadedAlone(t *testing.T) {
	now := time.Now()
	pace := pacerOf(1)
	pace.ended(now, &sending{began: now, rejections: []rejection{{overloaded, now.Add(time.Second)}, {overloaded, now.Add(2 * time.Second)}}})
	if pace.allowed != 1 || pace.maySend(now.Add(time.Second)) || !pace.maySend(now.Add(2*time.Second)) {
		t.Errorf("got %+v", pace)
	}
}

// A rate limit pauses everything, and pauses that overlap count once.
func TestPacerRateLimited(t *testing.T) {
	now := time.Now()
	pace := pacerOf(3)
	pace.ended(now, &sending{began: now, rejections: []rejection{{rateLimited, now.Add(2 * time.Second)}}})
	pace.ended(now.Add(time.Second), &sending{began: now, rejections: []rejection{{rateLimited, now.Add(3 * time.Second)}}})
	if pace.allowed != 8 || pace.maySend(now.Add(2*time.Second)) || !pace.maySend(now.Add(3*time.Second)) {
		t.Errorf("got %+v", pace)
	}
	if pace.paused != 3*time.Second {
		t.Errorf("paused for %v", pace.paused)
	}
}

// Without an advice the wait is doubled from 100 ms to 5 s, once for all calls that were sent before; a success resets it.
func TestPacerBacksOff(t *testing.T) {
	now := time.Now()
	pace := pacerOf(0)
	reject := func(began time.Time) {
		pace.running++
		pace.ended(now, &sending{began: began, rejections: []rejection{{reason: draining}}})
	}
	for _, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		now = now.Add(time.Minute)
		reject(now)
		reject(now.Add(-time.Hour))
		if want *= time.Millisecond; pace.backOff != want || pace.until.Sub(now) > want || pace.until.Sub(now) < want/2 {
			t.Errorf("%v: got %+v", want, pace)
		}
	}
	pace.running++
	pace.ended(now, &sending{isAnswered: true})
	reject(now.Add(time.Second))
	if pace.backOff != firstBackOff {
		t.Errorf("got %+v", pace)
	}
}

// After the delay, one call more than run is sent, since those may be long ones.
func TestPacerProbes(t *testing.T) {
	now := time.Now()
	pace := pacerOf(3)
	pace.ended(now, &sending{rejections: []rejection{{overloaded, now.Add(time.Second)}}})
	later := now.Add(time.Second)
	if place, _ := pace.place(); pace.maySend(now) || !place.Equal(later) || !pace.maySend(later) {
		t.Fatalf("got %+v", pace)
	}
	pace.running++
	if _, isKnown := pace.place(); isKnown || pace.maySend(now.Add(time.Hour)) {
		t.Errorf("two calls more: %+v", pace)
	}
	pace.ended(now, &sending{began: now, rejections: []rejection{{reason: overloaded}}})
	if pace.maySend(now) || !pace.maySend(now.Add(firstBackOff)) {
		t.Errorf("without an advice: %+v", pace)
	}
}

// A call that failed, or was not made, neither raises the number of calls nor resets the back-off.
func TestPacerAfterAFailure(t *testing.T) {
	pace := pacer{most: 8, allowed: 2, running: 2, backOff: time.Second}
	pace.ended(time.Now(), &sending{})
	if pace.running != 1 || pace.allowed != 2 || pace.backOff != time.Second {
		t.Errorf("got %+v", pace)
	}
}

// A delay is cut to one day, so that one mistake of a server does not stop a run.
func TestPacerLimitsDelays(t *testing.T) {
	now, delay := time.Now(), time.Duration(math.MaxInt64)
	found := newRejection(&Error{Reason: overloaded, RetryDelay: &delay}, now)
	if !found.until.Equal(now.Add(longestHint)) {
		t.Errorf("got %v", found)
	}
}
