//go:build unix

package embedwire

import (
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
)

// A call that is left ends the read of a pipe that is given as a path, although nothing comes from it.
func TestAPipeWithoutContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	client := serve(t, func(call *exchange) error {
		call.send(aSegment(0))
		return untilGone(call)
	})
	for range client.Stream(t.Context(), "m", Text{Value: "a"}) { // connects
		break
	}
	before := runtime.NumGoroutine()
	for range 10 {
		for _, err := range client.Stream(t.Context(), "m", Image{Source: Path(path)}) {
			if err != nil {
				t.Fatal(err)
			}
			pipe, err := os.OpenFile(path, os.O_WRONLY, 0) // waits for the reader
			if err != nil {
				t.Fatal(err)
			}
			defer pipe.Close()
			break
		}
	}
	waitForGoroutines(t, before)
}

// A pipe that is given as a path is not sent again, as it can be read once only.
func TestMapOfAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		pipe, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer pipe.Close()
		for err == nil { // until the reader closes it
			_, err = pipe.Write(make([]byte, 1<<10))
		}
	}()
	var calls atomic.Int32
	client := serve(t, rejectFirst(&calls, nil))
	found := mapOne(t, client, Path(path))
	if failure := found.failures[0]; failure == nil || failure.Reason != "OVERLOADED" || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), found)
	}
}
