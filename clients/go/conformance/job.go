package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/embedwire/embedwire/clients/go"
	"github.com/embedwire/embedwire/clients/go/embedwirepb"
)

type job struct {
	Name           string
	Target         string
	TLS            *tlsFiles
	Token          *string
	UpstreamAPIKey *string `json:"upstream_api_key"`
	Timeout        *float64
	WaitForReady   bool `json:"wait_for_ready"`
	Call           string
	Model          string
	MaxRetries     *int    `json:"max_retries"`
	RequestID      *string `json:"request_id"`
	Encoding       *string
	Dimensions     *int
	Uncertainty    bool `json:"include_uncertainty"`
	OnProgress     bool `json:"on_progress"`
	Inputs         []input
	CancelAfter    *int `json:"cancel_after"`
	Channels       *int
	Map            *mapOptions
}

type mapOptions struct {
	InputsPerCall   *int     `json:"inputs_per_call"`
	ConcurrentCalls *int     `json:"concurrent_calls"`
	RunTimeout      *float64 `json:"run_timeout"`
	CountWaits      *bool    `json:"count_waits"`
}

type tlsFiles struct {
	RootCertificates string  `json:"root_certificates"`
	CertificateChain *string `json:"certificate_chain"`
	PrivateKey       *string `json:"private_key"`
	ServerName       *string `json:"server_name"`
}

type input struct {
	Kind           string
	Value          string
	Key            string
	Truncate       *string
	FileName       string   `json:"file_name"`
	MediaType      string   `json:"media_type"`
	StartOffsetSec *float64 `json:"start_offset_sec"`
	EndOffsetSec   *float64 `json:"end_offset_sec"`
	Segmentation   *segmentation
	Options        []string `json:"embedding_options"`
	Scopes         []string `json:"embedding_scopes"`
	Types          []string `json:"embedding_types"`
	ProcessingMode *string  `json:"processing_mode"`
	AssetID        *string  `json:"asset_id"`
	TaskID         *string  `json:"task_id"`
	URL            *string
	Path           *string
	Data           []byte
	Stream         *string
	fields         map[string]json.RawMessage // distinguishes empty data from missing data
}

type segmentation struct{ Fixed, Dynamic *int }

func (i *input) UnmarshalJSON(data []byte) error {
	type plain input
	return errors.Join(json.Unmarshal(data, (*plain)(i)), json.Unmarshal(data, &i.fields))
}

func (j *job) client(found *outcome) (*embedwire.Client, error) {
	var options []embedwire.Option
	if j.TLS != nil {
		config, err := j.TLS.config()
		if err != nil {
			return nil, err
		}
		options = append(options, embedwire.WithTLS(config))
	}
	if j.Token != nil {
		options = append(options, embedwire.WithToken(*j.Token))
	}
	if j.UpstreamAPIKey != nil {
		options = append(options, embedwire.WithUpstreamAPIKey(*j.UpstreamAPIKey))
	}
	if j.Timeout != nil {
		options = append(options, embedwire.WithTimeout(duration(*j.Timeout)))
	}
	if j.WaitForReady {
		options = append(options, embedwire.WithWaitForReady())
	}
	if j.Channels != nil {
		options = append(options, embedwire.WithChannels(*j.Channels))
	}
	client, err := embedwire.NewClient(j.Target, options...)
	if err != nil {
		return nil, err
	}
	return client.With(j.options(found)...), nil
}

func (j *job) options(found *outcome) (options []embedwire.CallOption) {
	if j.MaxRetries != nil {
		options = append(options, embedwire.WithMaxRetries(*j.MaxRetries))
	}
	if j.RequestID != nil {
		options = append(options, embedwire.WithRequestID(*j.RequestID))
	}
	if j.Encoding != nil {
		encodings := map[string]embedwirepb.VectorEncoding{
			"float_values": embedwirepb.VectorEncoding_VECTOR_ENCODING_FLOAT_VALUES,
			"float32_le":   embedwirepb.VectorEncoding_VECTOR_ENCODING_FLOAT32_LE,
		}
		options = append(options, embedwire.WithVectorEncoding(encodings[*j.Encoding]))
	}
	if j.Dimensions != nil {
		options = append(options, embedwire.WithDimensions(*j.Dimensions))
	}
	if j.Uncertainty {
		options = append(options, embedwire.WithUncertainty())
	}
	if j.OnProgress {
		options = append(options, embedwire.WithProgress(found.report))
	}
	return options
}

func (m *mapOptions) options() (options []embedwire.MapOption) {
	if m == nil {
		return nil
	}
	if m.InputsPerCall != nil {
		options = append(options, embedwire.WithInputsPerCall(*m.InputsPerCall))
	}
	if m.ConcurrentCalls != nil {
		options = append(options, embedwire.WithConcurrentCalls(*m.ConcurrentCalls))
	}
	if m.RunTimeout != nil {
		options = append(options, embedwire.WithRunTimeout(duration(*m.RunTimeout)))
	}
	if m.CountWaits != nil && *m.CountWaits {
		options = append(options, embedwire.WithCountWaits())
	}
	return options
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func (f *tlsFiles) config() (*tls.Config, error) {
	roots, err := os.ReadFile(f.RootCertificates)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("%w: the root certificates are not PEM", embedwire.ErrArgument)
	}
	if f.CertificateChain != nil && f.PrivateKey != nil {
		pair, err := tls.LoadX509KeyPair(*f.CertificateChain, *f.PrivateKey)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if f.ServerName != nil {
		config.ServerName = *f.ServerName
	}
	return config, nil
}

// inputs opens the streams of a job; what it returns closes them.
func (j *job) inputs() (inputs []embedwire.Input, closeAll func(), err error) {
	var opened []io.Closer
	closeAll = func() {
		for _, file := range opened {
			file.Close()
		}
	}
	for _, item := range j.Inputs {
		var source embedwire.Source
		if item.Stream != nil {
			file, err := os.Open(*item.Stream)
			if err != nil {
				return nil, closeAll, err
			}
			opened = append(opened, file)
			source = embedwire.Reader(file)
		} else {
			source = item.source()
		}
		inputs = append(inputs, item.input(source))
	}
	return inputs, closeAll, nil
}

func (i *input) source() embedwire.Source {
	switch {
	case i.URL != nil:
		return embedwire.URL(*i.URL)
	case i.Path != nil:
		return embedwire.Path(*i.Path)
	case i.fields["data"] != nil && string(i.fields["data"]) != "null":
		return embedwire.Data(i.Data)
	case i.AssetID != nil:
		return embedwire.Asset(*i.AssetID)
	case i.TaskID != nil:
		return embedwire.Task(*i.TaskID)
	}
	return embedwire.Source{}
}

func (i *input) input(source embedwire.Source) embedwire.Input {
	switch i.Kind {
	case "text":
		text := embedwire.Text{Value: i.Value, Key: i.Key}
		if i.Truncate != nil {
			text.Truncate = embedwire.Truncate(*i.Truncate)
		}
		return text
	case "image":
		return embedwire.Image{Source: source, Key: i.Key, FileName: i.FileName, MediaType: i.MediaType}
	}
	audio := embedwire.Audio{
		Source: source, Key: i.Key, FileName: i.FileName, MediaType: i.MediaType, Segmentation: i.Segmentation.value(),
		EmbeddingOptions: i.Options, EmbeddingScopes: i.Scopes, EmbeddingTypes: i.Types,
	}
	if i.StartOffsetSec != nil {
		audio.StartOffsetSec = *i.StartOffsetSec
	}
	if i.EndOffsetSec != nil {
		audio.EndOffsetSec = *i.EndOffsetSec
	}
	if i.ProcessingMode != nil {
		audio.ProcessingMode = embedwire.ProcessingMode(*i.ProcessingMode)
	}
	return audio
}

func (s *segmentation) value() embedwire.Segmentation {
	switch {
	case s == nil:
		return embedwire.Segmentation{}
	case s.Fixed != nil:
		return embedwire.FixedSegmentation(*s.Fixed)
	}
	return embedwire.DynamicSegmentation(*s.Dynamic)
}
