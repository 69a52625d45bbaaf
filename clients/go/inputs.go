package embedwire

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// An Input is one thing to embed: a [Text], an [Image] or an [Audio]. What they hold is never printed.
type Input interface {
	// message is the input with its file, if it has one, at the given source.
	message(*pb.MediaSource) *pb.Input
	// file is nil for a text.
	file() *file
}

// Truncate says which end of a too long text is cut off.
type Truncate string

const (
	TruncateDefault Truncate = ""      // leave it to the upstream, which cuts the end
	TruncateNone    Truncate = "none"  // cut nothing: a too long text fails
	TruncateStart   Truncate = "start" // cut the start, keep the end
	TruncateEnd     Truncate = "end"   // cut the end, keep the start
)

var truncates = []Truncate{TruncateDefault, TruncateNone, TruncateStart, TruncateEnd} // by the numbers of the contract

// A Text gives one segment.
type Text struct {
	Value    string   // not empty, at most 64 KiB of UTF-8 unless the server says otherwise
	Key      string   // at most 256 bytes of UTF-8; it comes back with every event of this input
	Truncate Truncate // what to do if it is too long; TextSupport.Truncates lists what a model can
}

// An Image gives one segment. Which formats a model takes, [Model] says.
type Image struct {
	Source    Source // where its bytes are
	Key       string // at most 256 bytes of UTF-8; it comes back with every event of this input
	FileName  string // comes back as metadata; by default that of the path or file
	MediaType string // for instance "image/png"; by default what the name suggests
}

// An Audio gives segments over time. Which formats a model takes, [Model] says.
type Audio struct {
	Source    Source // where its bytes are
	Key       string // at most 256 bytes of UTF-8; it comes back with every event of this input
	FileName  string // comes back as metadata; by default that of the path or file
	MediaType string // for instance "audio/mpeg"; by default what the name suggests

	// Where to start, in seconds from the beginning of the file. Offsets in the answer count from the beginning of
	// the file all the same.
	StartOffsetSec float64
}

// A Source says where the bytes of a file are: [URL], [Path], [Data] or [Reader].
type Source struct {
	kind   sourceKind
	text   string
	data   []byte
	reader io.Reader
}

type sourceKind int

const (
	noSource sourceKind = iota
	urlSource
	pathSource
	dataSource
	readerSource
)

// URL is a file at an absolute http or https URL, which the upstream fetches.
func URL(url string) Source { return Source{kind: urlSource, text: url} }

// Path is a local file. It is opened when its turn comes to be sent. Nothing can end the opening of a named pipe before
// another process opens it to write, so that a call that is left before keeps a thread until then.
func Path(path string) Source { return Source{kind: pathSource, text: path} }

// Data is the bytes of a file themselves.
func Data(data []byte) Source { return Source{kind: dataSource, data: data} }

// Reader is a file that is read to its end while it is uploaded. It is not closed. A Read that is under way
// when the call ends before it is not waited for.
func Reader(reader io.Reader) Source { return Source{kind: readerSource, reader: reader} }

// Format shows no content, whatever the verb.
func (Text) Format(state fmt.State, _ rune) { io.WriteString(state, "embedwire.Text{...}") }

// Format shows no content, whatever the verb.
func (Image) Format(state fmt.State, _ rune) { io.WriteString(state, "embedwire.Image{...}") }

// Format shows no content, whatever the verb.
func (Audio) Format(state fmt.State, _ rune) { io.WriteString(state, "embedwire.Audio{...}") }

// Format shows no content, whatever the verb.
func (Source) Format(state fmt.State, _ rune) { io.WriteString(state, "embedwire.Source{...}") }

func (Text) file() *file    { return nil }
func (i Image) file() *file { return newFile(i.Source, i.FileName, i.MediaType) }
func (a Audio) file() *file { return newFile(a.Source, a.FileName, a.MediaType) }

func (t Text) message(*pb.MediaSource) *pb.Input {
	truncate := pb.Truncate(slices.Index(truncates, t.Truncate))
	return &pb.Input{Key: t.Key, Modality: &pb.Input_Text{Text: &pb.TextInput{Value: t.Value, Truncate: truncate}}}
}

func (i Image) message(source *pb.MediaSource) *pb.Input {
	return &pb.Input{Key: i.Key, Modality: &pb.Input_Image{Image: &pb.ImageInput{Source: source}}}
}

func (a Audio) message(source *pb.MediaSource) *pb.Input {
	audio := &pb.AudioInput{Source: source}
	if a.StartOffsetSec != 0 {
		audio.StartOffsetSec = &a.StartOffsetSec
	}
	return &pb.Input{Key: a.Key, Modality: &pb.Input_Audio{Audio: audio}}
}

// The types that models take, by the usual ends of names: those of package mime depend on the machine.
var mediaTypes = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
	".flac": "audio/flac", ".mp3": "audio/mpeg", ".wav": "audio/wav",
}

func newFile(source Source, name, mediaType string) *file {
	if name == "" {
		name = source.name()
	}
	if mediaType == "" {
		mediaType = mediaTypes[strings.ToLower(filepath.Ext(name))]
	}
	return &file{source: source, name: name, mediaType: mediaType}
}

func (s Source) name() string {
	path := ""
	if named, ok := s.reader.(interface{ Name() string }); ok { // as *os.File is
		path = named.Name()
	} else if s.kind == pathSource {
		path = s.text
	}
	if path == "" {
		return ""
	}
	return strings.ToValidUTF8(filepath.Base(path), "?") // protobuf takes nothing else
}
