package embedwire

import (
	"math/rand/v2"
	"time"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

const (
	firstBackOff   = 100 * time.Millisecond
	longestBackOff = 5 * time.Second
	longestHint    = 24 * time.Hour // what a server asks for beyond is a mistake
)

// The reasons for which inputs are sent again, as they are spelled in errors.
var (
	overloaded  = nameOf(pb.ErrorReason_ERROR_REASON_OVERLOADED)
	rateLimited = nameOf(pb.ErrorReason_ERROR_REASON_RATE_LIMITED)
	draining    = nameOf(pb.ErrorReason_ERROR_REASON_DRAINING)
)

// A rejection is one by the server, of a call or of one of its inputs.
type rejection struct {
	reason string
	until  time.Time // when the server wants the inputs back; zero if it does not say
}

// isRejection tells whether a failure is one after which the same inputs are sent again. A limit that more time does not
// help is none.
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

// A pacer decides how many calls of a run are sent at a time, and when (additive increase, multiplicative decrease).
type pacer struct {
	most     float64       // calls at a time, by the options
	allowed  float64       // calls at a time that the server is likely to accept
	running  int           // calls
	until    time.Time     // nothing is sent before
	probe    time.Time     // when one call more than run may be sent; zero if that is not planned
	paused   time.Duration // all pauses together
	backOff  time.Duration // the last wait without an advice of the server; 0 after a success
	backedOn time.Time     // when that was chosen
}

func (p *pacer) hasPlace() bool { return p.running < int(p.allowed) }

// place is when a call may be sent, if that is known before one ends.
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

// ended takes note of a call.
//
// What is rejected because the server is overloaded can be sent as soon as another call ends, which frees its place
// there, or after the delay, since that call may be a long one. If none runs, or for the other reasons, everything waits.
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

// nextBackOff doubles the last wait, once for all calls that were sent before it was chosen.
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
