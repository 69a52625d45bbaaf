package embedwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// A credential is refused if it would be sent in plaintext to a non-loopback address, in every form of the target.
func TestCredentialsInPlainText(t *testing.T) {
	data, err := os.ReadFile("../loopback.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct{ Targets [][2]any }
	if err := json.Unmarshal(data, &table); err != nil || len(table.Targets) == 0 {
		t.Fatal(err)
	}
	for _, row := range table.Targets {
		target, isAllowed := row[0].(string), row[1].(bool)
		if isLocal(target) != isAllowed {
			t.Errorf("%s is local: %t", target, isLocal(target))
		}
		if target == "" { // is refused for another reason
			continue
		}
		for name, option := range map[string]Option{"token": WithToken("s3cret"), "key": WithUpstreamAPIKey("s3cret")} {
			_, err := NewClient(target, option)
			if isRefused := errors.Is(err, ErrArgument); isRefused == isAllowed {
				t.Errorf("%s to %s: got %v", name, target, err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the credential is in the error: %v", err)
			}
		}
	}
}

// What cannot be used as an option is refused when the client is made.
func TestOptionsThatAreRefused(t *testing.T) {
	for name, try := range map[string]func() (*Client, error){
		"empty target":  func() (*Client, error) { return NewClient("") },
		"spaces":        func() (*Client, error) { return NewClient("127.0.0.1 :1") },
		"http":          func() (*Client, error) { return NewClient("http://127.0.0.1:1") },
		"no such port":  func() (*Client, error) { return NewClient("127.0.0.1:65536") },
		"empty token":   func() (*Client, error) { return NewClient("127.0.0.1:1", WithToken("")) },
		"line end":      func() (*Client, error) { return NewClient("127.0.0.1:1", WithToken("a\n")) },
		"not ASCII":     func() (*Client, error) { return NewClient("127.0.0.1:1", WithUpstreamAPIKey("é")) },
		"no channels":   func() (*Client, error) { return NewClient("127.0.0.1:1", WithChannels(0)) },
		"keepalive":     func() (*Client, error) { return NewClient("127.0.0.1:1", WithKeepaliveTime(time.Second)) },
		"of calls":      func() (*Client, error) { return NewClient("127.0.0.1:1", WithMaxRetries(-1)) },
		"negative time": func() (*Client, error) { return NewClient("127.0.0.1:1", WithTimeout(-1)) },
	} {
		if _, err := try(); !errors.Is(err, ErrArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What cannot be used as an argument of a call is refused before anything is sent.
func TestArgumentsThatAreRefused(t *testing.T) {
	client, err := NewClient("127.0.0.1:1", WithTimeout(0)) // a call that is sent is late, not refused
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	text := Text{Value: "a"}
	audio := func(change func(*Audio)) ([]Embedding, error) {
		changed := Audio{Source: URL("http://a.test/a")}
		change(&changed)
		return client.Embed(t.Context(), "m", changed)
	}
	for name, try := range map[string]func() ([]Embedding, error){
		"no input":      func() ([]Embedding, error) { return client.Embed(t.Context(), "m", nil) },
		"no source":     func() ([]Embedding, error) { return client.Embed(t.Context(), "m", Image{}) },
		"nil reader":    func() ([]Embedding, error) { return client.Embed(t.Context(), "m", Audio{Source: Reader(nil)}) },
		"not UTF-8":     func() ([]Embedding, error) { return client.Embed(t.Context(), "m", Text{Value: "\xff"}) },
		"key":           func() ([]Embedding, error) { return client.Embed(t.Context(), "m", Text{Value: "a", Key: "\xff"}) },
		"model":         func() ([]Embedding, error) { return client.Embed(t.Context(), "\xff", text) },
		"truncate":      func() ([]Embedding, error) { return client.Embed(t.Context(), "m", Text{Truncate: "middle"}) },
		"request id":    func() ([]Embedding, error) { return client.With(WithRequestID("a b")).Embed(t.Context(), "m", text) },
		"no request id": func() ([]Embedding, error) { return client.With(WithRequestID("")).Embed(t.Context(), "m", text) },
		"retries":       func() ([]Embedding, error) { return client.With(WithMaxRetries(-1)).Embed(t.Context(), "m", text) },
		"chunks":        func() ([]Embedding, error) { return client.With(WithChunkBytes(0)).Embed(t.Context(), "m", text) },
		"dimensions":    func() ([]Embedding, error) { return client.With(WithDimensions(0)).Embed(t.Context(), "m", text) },
		"mode":          func() ([]Embedding, error) { return audio(func(a *Audio) { a.ProcessingMode = "soon" }) },
		"no window":     func() ([]Embedding, error) { return audio(func(a *Audio) { a.Segmentation = FixedSegmentation(0) }) },
		"long window": func() ([]Embedding, error) {
			return audio(func(a *Audio) { a.Segmentation = DynamicSegmentation(1 << 32) })
		},
		"option": func() ([]Embedding, error) { return audio(func(a *Audio) { a.EmbeddingOptions = []string{"\xff"} }) },
		"task":   func() ([]Embedding, error) { return audio(func(a *Audio) { a.Source = Task("\xff") }) },
	} {
		if _, err := try(); !errors.Is(err, ErrArgument) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// No content and no credential is printed, whatever the verb.
func TestNothingIsPrinted(t *testing.T) {
	client, err := NewClient("127.0.0.1:1", WithToken("s3cret"), WithUpstreamAPIKey("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	source := Data([]byte("s3cret"))
	for _, value := range []any{
		client, Text{Value: "s3cret", Key: "s3cret"}, &Text{Value: "s3cret"}, Image{Source: Path("s3cret")}, source,
		Audio{Source: source, FileName: "s3cret"}, []Input{Text{Value: "s3cret"}}, &Segment{InputKey: "s3cret"},
		Embedding{Result: &Result{InputKey: "s3cret", InputFilename: "s3cret"}}, &Progress{InputKey: "s3cret"},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, "s3cret") || strings.Contains(text, "733363726574") {
				t.Errorf("%s of %T: %s", verb, value, text)
			}
		}
	}
	if text := fmt.Sprintf("%#v", &Error{Message: "s3cret"}); strings.Contains(text, "s3cret") {
		t.Error(text)
	}
}
