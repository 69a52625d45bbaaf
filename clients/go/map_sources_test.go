package embedwire

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// rejectFirst rejects the first upload after a chunk of it, and passes on the bytes of the next ones.
func rejectFirst(calls *atomic.Int32, received *bytes.Buffer) func(*exchange) error {
	return func(call *exchange) error {
		if _, err := call.chunk(); err != nil || calls.Add(1) == 1 {
			return errors.Join(err, rejected(overloadedReason, time.Millisecond))
		}
		for {
			chunk, err := call.chunk()
			if err == io.EOF {
				return call.succeed()
			} else if err != nil {
				return err
			}
			received.Write(chunk.Data)
		}
	}
}

func mapOne(t *testing.T, client *Client, source Source) outcome {
	t.Helper()
	inputs := slices.Values([]Input{Image{Source: source}})
	return outcomeOf(client.With(WithChunkBytes(1<<10)).Map(t.Context(), "m", inputs))
}

// What can be read again is sent again after a rejection, with the same bytes from where it began.
func TestMapRewinds(t *testing.T) {
	data := make([]byte, 3<<20)
	rand.Read(data)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const start = 100
	reader := bytes.NewReader(data)
	for _, seeker := range []io.Seeker{file, reader} {
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
	for name, source := range map[string]Source{
		"file": Reader(file), "bytes": Reader(reader), "path": Path(path), "data": Data(data),
	} {
		var calls atomic.Int32
		var received bytes.Buffer
		found := mapOne(t, serve(t, rejectFirst(&calls, &received)), source)
		want := data[1<<10:] // without the chunk that the server read first
		if name == "file" || name == "bytes" {
			want = data[start+1<<10:]
		}
		if len(found.succeeded) != 1 || calls.Load() != 2 || !bytes.Equal(received.Bytes(), want) {
			t.Errorf("%s: %d calls, %d bytes, %v", name, calls.Load(), received.Len(), found)
		}
	}
}

// A source that can be read once only ends with the rejection as its failure.
func TestMapOfWhatIsReadOnce(t *testing.T) {
	var calls atomic.Int32
	client := serve(t, rejectFirst(&calls, nil))
	found := mapOne(t, client, Reader(io.MultiReader(bytes.NewReader(make([]byte, 1<<20)))))
	if failure := found.failures[0]; failure == nil || failure.Reason != "OVERLOADED" || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), found)
	}
}

// blocked is a source whose first read waits.
type blocked struct {
	once   sync.Once
	isRead chan struct{}
	freed  chan struct{}
}

func newBlocked() *blocked { return &blocked{isRead: make(chan struct{}), freed: make(chan struct{})} }

func (b *blocked) Read([]byte) (int, error) {
	b.once.Do(func() { close(b.isRead) })
	<-b.freed
	return 0, io.EOF
}

func (b *blocked) Seek(int64, int) (int64, error) { return 0, nil }

// A source that could be read again, but whose earlier read is not over, ends with the rejection: there are never two
// readers, and no wait without an end.
func TestMapOfABlockedSource(t *testing.T) {
	source := newBlocked()
	defer close(source.freed)
	client := serve(t, func(*exchange) error {
		<-source.isRead
		return rejected(overloadedReason, time.Millisecond)
	})
	found := mapOne(t, client, Reader(source))
	if failure := found.failures[0]; failure == nil || failure.Reason != "OVERLOADED" {
		t.Errorf("got %v", found)
	}
}

// A run can be left while a source is blocked, and leaves nothing behind once it is not.
func TestMapThatIsLeftWithABlockedSource(t *testing.T) {
	client := serve(t, succeed)
	if _, err := client.Models(t.Context()); err != nil { // connects
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for range 10 {
		source := newBlocked()
		inputs := slices.Values([]Input{Image{Source: Reader(source)}, Text{Value: "a"}})
		for range client.Map(t.Context(), "m", inputs) {
			<-source.isRead
			break
		}
		close(source.freed)
	}
	waitForGoroutines(t, before)
}

// stuck is an input that takes its time when it is encoded, as a file on a disk that hangs does.
type stuck struct {
	Text
	uses    *atomic.Int32
	isFreed chan struct{}
}

func (s stuck) message(source *pb.MediaSource) *pb.Input {
	if s.uses.Add(1) == 2 { // the first use was its examination
		<-s.isFreed
	}
	return s.Text.message(source)
}

// The end of a run does not wait for what is being encoded, which fails at a deadline as well.
func TestMapThatEndsWhileItEncodes(t *testing.T) {
	client := serve(t, succeed)
	input := stuck{Text{Value: "a"}, new(atomic.Int32), make(chan struct{})}
	defer close(input.isFreed)
	inputs := slices.Values([]Input{input})
	found := outcomeOf(client.Map(t.Context(), "m", inputs, WithRunTimeout(100*time.Millisecond)))
	if failure := found.failures[0]; failure == nil || !errors.Is(found.err, ErrDeadlineExceeded) {
		t.Errorf("got %v", found)
	}
}

// An input that has its result stays with it if its reader fails afterwards.
func TestMapOfAReaderThatFailsAfterTheResult(t *testing.T) {
	client := serve(t, func(call *exchange) error {
		if err := call.send(aSegment(0), aResult(0, nil)); err != nil {
			return err
		}
		return untilGone(call)
	})
	source := newBlocked()
	inputs := slices.Values([]Input{Image{Source: Reader(io.MultiReader(source, failing{errors.New("no disk")}))}})
	count := 0
	for embedding, err := range client.Map(t.Context(), "m", inputs) {
		if count++; err != nil || embedding.Result.Err != nil {
			t.Errorf("got %v, %v", embedding.Result, err)
		}
		close(source.freed)
	}
	if count != 1 {
		t.Errorf("%d embeddings", count)
	}
}

// A source may fail with the error of another client that was closed, which ends its input and not the run.
func TestMapOfASourceOfAClosedClient(t *testing.T) {
	client := serve(t, succeed)
	inputs := slices.Values([]Input{Image{Source: Reader(failing{ErrClosed})}})
	found := outcomeOf(client.Map(t.Context(), "m", inputs, WithRunTimeout(10*time.Second)))
	if failure := found.failures[0]; found.err != nil || failure == nil || failure.Reason != "INVALID_REQUEST" {
		t.Errorf("got %v", found)
	}
}

// A file that cannot be read ends its own input, with the words of the system and without the path.
func TestMapOfWhatCannotBeRead(t *testing.T) {
	client := serve(t, succeed)
	found := outcomeOf(client.Map(t.Context(), "m", slices.Values([]Input{
		Text{Value: "a"},
		Image{Source: Path("/no/such/file")},
		Audio{Source: Path(t.TempDir())},
		Audio{Source: Reader(failing{errors.New("s3cret")})},
		Text{Value: "\xff"},
		Image{},
		Text{Value: "b"},
	})))
	if found.err != nil || !slices.Equal(found.succeeded, []int{0, 6}) {
		t.Fatalf("got %v", found)
	}
	for position, want := range map[int]string{
		1: "inputs[1].image.source: cannot be read: no such file or directory",
		2: "inputs[2].audio.source: cannot be read: is a directory",
		3: "inputs[3].audio.source: cannot be read: its reader failed",
		4: "inputs[4]: every string must be UTF-8",
		5: "inputs[5].image.source: is missing; give a URL, Path, Data, Reader or Asset",
	} {
		failure := found.failures[position]
		if failure == nil || failure.Message != want || failure.Reason != "INVALID_REQUEST" {
			t.Errorf("got %v, want %s", failure, want)
		} else if !strings.HasPrefix(want, failure.Violations[0].Field+": ") {
			t.Errorf("the field is %s", failure.Violations[0].Field)
		}
	}
	if !errors.Is(found.failures[1], fs.ErrNotExist) {
		t.Error("the error of the file is not wrapped")
	}
}
