package embedwire

import (
	"math/rand/v2"
	"time"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const (
	firstBackOff   = 100 * time.Millisecond
	longestBackOff = 5 * time.Second
	longestHint    = 24 * time.Hour // a longer delay is a mistake of the server
)

// The reasons for which inputs are sent again, as they are spelled in errors.
var (
	overloaded  = nameOf(pb.ErrorReason_ERROR_REASON_OVERLOADED)
	rateLimited = nameOf(pb.ErrorReason_ERROR_REASON_RATE_LIMITED)
	draining    = nameOf(pb.ErrorReason_ERROR_REASON_DRAINING)
)

// A rejection is the rejection of a call or of one of its inputs by the server.
type rejection struct {
	reason string
	until  time.Time // when the server asks to try again; zero if it sent no delay
}

// isRejection reports whether the same inputs are sent again after a failure. A rate limit without a retry delay is not
// a rejection: waiting does not help.
func isRejection(failure *Error) bool {
	switch failure.Reason {
	case overloaded, draining:
		return true
	}
	return failure.Reason == rateLimited && failure.RetryDelay != nil
}

func newRejection(failure *Error, now time.Time) rejection {
	found := rejection{reason: failure.Reason}
	if failure.RetryDelay != nil && *failure.RetryDelay > 0 {
		found.until = now.Add(min(*failure.RetryDelay, longestHint))
	}
	return found
}

// A pacer controls the concurrency of a run (additive increase, multiplicative decrease) and its pauses.
type pacer struct {
	most     float64       // maximum number of concurrent calls, by the options
	allowed  float64       // number of concurrent calls that the server is likely to accept
	running  int           // number of running calls
	until    time.Time     // end of the current pause
	probe    time.Time     // when one call above the limit may be sent; zero: never
	paused   time.Duration // sum of all pauses
	backOff  time.Duration // last back-off without a retry delay of the server; 0 after a success
	backedOn time.Time     // when it was chosen
}

func (p *pacer) hasPlace() bool { return p.running < int(p.allowed) }

// place returns when the next call may be sent, if that does not depend on the end of another call.
func (p *pacer) place() (at time.Time, isKnown bool) {
	if p.hasPlace() {
		return p.until, true
	}
	return latest(p.until, p.probe), !p.probe.IsZero()
}

func (p *pacer) maySend(now time.Time) bool {
	if !p.probe.IsZero() && !now.Before(p.probe) {
		p.probe = time.Time{}
		p.allowed = min(max(p.allowed, float64(p.running+1)), p.most)
	}
	return p.hasPlace() && !now.Before(p.until)
}

// ended records the end of a call.
//
// Inputs that an overloaded server rejected can be sent when another call ends, which frees capacity, or after the
// retry delay, since that call may be long. If no call runs, or for the other reasons, all sending pauses.
func (p *pacer) ended(now time.Time, call *sending) {
	p.running--
	if len(call.rejections) == 0 {
		if call.isAnswered {
			p.allowed = min(p.allowed+1/p.allowed, p.most)
			p.backOff = 0
		}
		return
	}
	var until time.Time
	isPause := p.running == 0
	for _, rejection := range call.rejections {
		until = latest(until, rejection.until)
		if rejection.reason == overloaded {
			p.allowed = max(1, float64(p.running))
		} else {
			isPause = true
		}
	}
	if until.IsZero() {
		until = now.Add(p.nextBackOff(now, call.began))
	}
	if isPause {
		p.pause(now, until)
	} else {
		p.probe = latest(p.probe, until)
	}
}

// nextBackOff doubles the back-off, once for all calls that were sent before it was chosen, and adds jitter.
func (p *pacer) nextBackOff(now, began time.Time) time.Duration {
	if p.backOff == 0 || began.After(p.backedOn) {
		p.backOff, p.backedOn = min(max(2*p.backOff, firstBackOff), longestBackOff), now
	}
	return p.backOff/2 + rand.N(p.backOff/2)
}

func (p *pacer) pause(now, until time.Time) {
	if since := latest(now, p.until); until.After(since) {
		p.paused += until.Sub(since)
		p.until = until
	}
}

func latest(first, second time.Time) time.Time {
	if first.After(second) {
		return first
	}
	return second
}
