package embedwire

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// An Input is a [Text], an [Image] or an [Audio] to embed. Formatting verbs never print its content.
type Input interface {
	// message encodes the input, with the given source if it has a file.
	message(*pb.MediaSource) *pb.Input
	// file returns nil for a text.
	file() *file
}

// Truncate is the end of a too long text that is cut off.
type Truncate string

const (
	TruncateDefault Truncate = ""      // use the upstream's default, which cuts the end
	TruncateNone    Truncate = "none"  // cut nothing; a too long text fails
	TruncateStart   Truncate = "start" // cut the start, keep the end
	TruncateEnd     Truncate = "end"   // cut the end, keep the start
)

var truncates = []Truncate{TruncateDefault, TruncateNone, TruncateStart, TruncateEnd} // by the numbers of the contract

// A Text is a text to embed. It yields one segment.
type Text struct {
	Value    string   // not empty; at most 64 KiB of UTF-8 unless the server is configured otherwise
	Key      string   // at most 256 bytes of UTF-8; returned with each event of this input
	Truncate Truncate // end to cut off if it is too long; TextSupport.Truncates lists the values that a model accepts
}

// An Image is an image to embed. It yields one segment. [ImageSupport] lists the formats that a model accepts.
type Image struct {
	Source    Source // source of the file
	Key       string // at most 256 bytes of UTF-8; returned with each event of this input
	FileName  string // returned as metadata; by default the name of the path or file
	MediaType string // for instance "image/png"; by default derived from the file name
}

// An Audio is an audio file to embed. It yields segments over time. [AudioSupport] lists the formats and options that a
// model accepts.
type Audio struct {
	Source    Source // source of the file
	Key       string // at most 256 bytes of UTF-8; returned with each event of this input
	FileName  string // returned as metadata; by default the name of the path or file
	MediaType string // for instance "audio/mpeg"; by default derived from the file name

	// Start in seconds from the beginning of the file. Offsets of segments also count from the beginning of the file.
	StartOffsetSec float64
	EndOffsetSec   float64        // end in seconds from the beginning of the file; 0 means the end of the file
	Segmentation   Segmentation   // division into segments; the zero value means the model's default
	ProcessingMode ProcessingMode // way in which the upstream processes the file; by default the server selects it

	// Aspects to embed, for instance "audio" and "transcription"; empty means all of them. Each window has one segment
	// for each.
	EmbeddingOptions []string
	// Scopes of the segments: "clip" for windows, "asset" for the whole file; empty means "clip".
	EmbeddingScopes []string
	// Types of the vectors: "separate_embedding" for one of each aspect, "fused_embedding" for a common one of all;
	// empty means "separate_embedding".
	EmbeddingTypes []string
}

// A Source is the source of a file: [URL], [Path], [Data], [Reader], [Asset] or [Task].
type Source struct {
	kind   sourceKind
	text   string // URL, path or identifier
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
	assetSource
	taskSource
)

// hasContent reports whether this client sends the content: it does not send that of a URL or of an identifier.
func (k sourceKind) hasContent() bool { return k == pathSource || k == dataSource || k == readerSource }

// URL returns the source of a file at an absolute http or https URL. The upstream fetches it.
func URL(url string) Source { return Source{kind: urlSource, text: url} }

// Path returns the source of a local file, which is opened immediately before it is sent. Opening a named pipe cannot
// be cancelled until another process opens it for writing, so a call that ends before keeps a thread until then.
func Path(path string) Source { return Source{kind: pathSource, text: path} }

// Data returns a source with the bytes of a file.
func Data(data []byte) Source { return Source{kind: dataSource, data: data} }

// Reader returns the source of a file that is read to its end while it is uploaded. The client does not close it. When
// a call ends early, the client does not wait for a Read that is still running.
func Reader(reader io.Reader) Source { return Source{kind: readerSource, reader: reader} }

// Asset returns the source of a file that the upstream already has, with its identifier: 1 to 128 letters, digits, "-"
// and "_". The file must belong to the account of the API key. The server does not delete it.
func Asset(id string) Source { return Source{kind: assetSource, text: id} }

// Task returns the source that is an earlier task of the upstream, for instance [Error.UpstreamTaskID] of a call whose
// deadline passed. Only an [Audio] accepts it. The input waits for the task and returns its result, which is kept for
// seven days; nothing is billed again. The model and the dimensions must be those of the task, and all other fields of
// the input except its key must be left out.
func Task(id string) Source { return Source{kind: taskSource, text: id} }

// Format prints no content, for every verb.
func (Text) Format(state fmt.State, _ rune) { io.WriteString(state, "embedwire.Text{...}") }

// Format prints no content, for every verb.
func (Image) Format(state fmt.State, _ rune) { io.WriteString(state, "embedwire.Image{...}") }

// Format prints no content, for every verb.
func (Audio) Format(state fmt.State, _ rune) { io.WriteString(state, "embedwire.Audio{...}") }

// Format prints no content, for every verb.
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
	audio := &pb.AudioInput{
		Source: source, Segmentation: a.Segmentation.message(), EmbeddingOptions: a.EmbeddingOptions,
		EmbeddingScopes: a.EmbeddingScopes, EmbeddingTypes: a.EmbeddingTypes,
		ProcessingMode: pb.ProcessingMode(slices.Index(processingModes, a.ProcessingMode)),
	}
	if a.StartOffsetSec != 0 {
		audio.StartOffsetSec = &a.StartOffsetSec
	}
	if a.EndOffsetSec != 0 {
		audio.EndOffsetSec = &a.EndOffsetSec
	}
	return &pb.Input{Key: a.Key, Modality: &pb.Input_Audio{Audio: audio}}
}

// The media types that models accept, by file extension. Package mime is not used, since its types depend on the
// machine.
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
	return strings.ToValidUTF8(filepath.Base(path), "?") // protobuf accepts only UTF-8
}
