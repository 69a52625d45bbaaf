package embedwire

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	pb "github.com/embedwire/embedwire/clients/go/embedwirepb"
)

// A file is the file of an image or an audio.
type file struct {
	source    Source
	name      string
	mediaType string
	canRewind bool  // whether the reader can be rewound; see mark
	start     int64 // position of the reader to rewind to
}

var errGrown = errors.New("the file has grown while it was read")

// mark stores the position of a reader, if it supports seeking.
func (f *file) mark() {
	if seeker, ok := f.source.reader.(io.Seeker); ok {
		var err error
		f.start, err = seeker.Seek(0, io.SeekCurrent)
		f.canRewind = err == nil // it fails for a pipe, which is an *os.File too
	}
}

// rewind moves a reader to the position that mark stored, and reports whether that succeeded.
func (f *file) rewind() bool {
	if !f.canRewind {
		return false
	}
	_, err := f.source.reader.(io.Seeker).Seek(f.start, io.SeekStart)
	return err == nil
}

// locate returns the source of the file as a message, with its bytes if they fit into room, and how many bytes of room
// it uses. The source is nil if there is no file (a text), and if the file has no source.
func (f *file) locate(room int64) (_ *pb.MediaSource, taken int64, _ error) {
	if f == nil || f.source.kind == noSource || f.source.kind == readerSource && f.source.reader == nil {
		return nil, 0, nil
	}
	if !f.source.kind.hasContent() {
		return f.source.remote(), 0, nil
	}
	size, err := f.size()
	if err != nil {
		return nil, 0, err
	}
	if size < 0 || size > room {
		announced := &pb.UploadSource{FileName: f.name, MediaType: f.mediaType}
		if size >= 0 {
			announced.SizeBytes = &size
		}
		return &pb.MediaSource{Source: &pb.MediaSource_Upload{Upload: announced}}, 0, nil
	}
	data, err := f.whole(size)
	source := &pb.FileSource{Data: data, FileName: f.name, MediaType: f.mediaType}
	return &pb.MediaSource{Source: &pb.MediaSource_File{File: source}}, size, err
}

// remote returns the message of a source whose content this client does not send.
func (s Source) remote() *pb.MediaSource {
	switch s.kind {
	case assetSource:
		return &pb.MediaSource{Source: &pb.MediaSource_Asset{Asset: &pb.AssetSource{Id: s.text}}}
	case taskSource:
		return &pb.MediaSource{Source: &pb.MediaSource_Task{Task: &pb.TaskSource{Id: s.text}}}
	}
	return &pb.MediaSource{Source: &pb.MediaSource_Url{Url: s.text}}
}

// size returns the number of bytes, or -1 if it is unknown before they are read.
func (f *file) size() (int64, error) {
	switch f.source.kind {
	case dataSource:
		return int64(len(f.source.data)), nil
	case pathSource:
		info, err := os.Stat(f.source.text)
		if err != nil {
			return 0, err
		}
		if info.IsDir() {
			return 0, &fs.PathError{Op: "read", Path: f.source.text, Err: syscall.EISDIR}
		}
		if info.Mode().IsRegular() {
			return info.Size(), nil
		}
	}
	return -1, nil
}

func (f *file) open() (io.ReadCloser, error) {
	switch f.source.kind {
	case dataSource:
		return io.NopCloser(bytes.NewReader(f.source.data)), nil
	case pathSource:
		return os.Open(f.source.text)
	}
	return io.NopCloser(f.source.reader), nil
}

// whole reads a file of this size into memory.
func (f *file) whole(size int64) ([]byte, error) {
	if f.source.kind == dataSource {
		return f.source.data, nil
	}
	reader, err := f.open()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	data, err := io.ReadAll(io.LimitReader(reader, size+1))
	if err == nil && int64(len(data)) > size {
		err = &fs.PathError{Op: "read", Path: f.source.text, Err: errGrown}
	}
	return data, err
}

// fill reads until the chunk is full or an error occurs; it returns io.EOF at the end. Unlike with io.ReadFull, an
// io.ErrUnexpectedEOF of the reader, for instance of a broken download, is not taken for the end.
func fill(reader io.Reader, chunk []byte) (filled int, err error) {
	for filled < len(chunk) && err == nil {
		var count int
		count, err = reader.Read(chunk[filled:])
		filled += count
	}
	return filled, err
}
