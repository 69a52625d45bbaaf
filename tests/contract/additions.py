"""A copy of the contract with the likely additions of the next year, which tests compile. It is never shipped."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
EMBEDDING = Path("embedwire/v1/embedding.proto")

# Text that follows the first occurrence of each anchor.
ADDITIONS = (
    # A source, a video, and further options of audio.
    (
        "    TaskSource task = 5;\n",
        "\n    // The identifier of a recording of the upstream.\n    string recording_id = 6;\n",
    ),
    (
        "    AudioInput audio = 4;\n",
        """
    // A video file.
    VideoInput video = 5;

    // A text with an image.
    TextImageInput text_image = 6;
""",
    ),
    (
        "  ProcessingMode processing_mode = 8;\n",
        "\n  // Language of the speech.\n  optional string language = 9;\n",
    ),
    (
        "    DynamicSegmentation dynamic = 2;\n",
        "\n    // At changes of the scene.\n    bool scenes = 3;\n",
    ),
    (
        "  PROCESSING_MODE_TASK = 2;\n",
        "\n  // A batch of many inputs.\n  PROCESSING_MODE_BATCH = 3;\n",
    ),
    # A stage and an event, and a message with the likeliest name.
    (
        "  PROGRESS_STAGE_PROCESSING = 3;\n",
        "\n  // The input waits at the upstream.\n  PROGRESS_STAGE_QUEUED = 4;\n",
    ),
    (
        "    InputProgress progress = 3;\n",
        "\n    // A warning of the upstream.\n    Warning warning = 4;\n",
    ),
    # New forms of vectors.
    (
        "    bytes float32_le = 3;\n",
        """
    // As signed bytes.
    bytes int8 = 4;

    // As indexes with values.
    SparseValues sparse = 5;
""",
    ),
    (
        "  VECTOR_ENCODING_FLOAT32_LE = 2;\n",
        "\n  // Vector.int8.\n  VECTOR_ENCODING_INT8 = 3;\n\n  // Vector.sparse.\n  VECTOR_ENCODING_SPARSE = 4;\n",
    ),
    (
        "    AudioSegment audio = 6;\n",
        "\n    // Of a video file.\n    VideoSegment video = 9;\n",
    ),
    (
        "  map<string, int64> input_tokens = 13;\n",
        "\n  // What the upstream bills.\n  Usage usage = 16;\n",
    ),
    (
        "  string upstream_task_id = 10;\n}\n",
        """
// VideoInput is a video file to embed.
message VideoInput {
  // Where the video is.
  MediaSource source = 1;

  // How the file is divided into segments.
  Segmentation segmentation = 2;
}

// TextImageInput is a text with an image.
message TextImageInput {
  // The text.
  TextInput text = 1;

  // The image.
  ImageInput image = 2;
}

// Warning is a warning of the upstream about one input.
message Warning {
  // Which input, counted from 0 in the request.
  int32 input_index = 1;

  // The message of the upstream.
  string message = 2;
}

// SparseValues is a list of numbers by index.
message SparseValues {
  // The indexes.
  repeated int32 indexes = 1;

  // The numbers.
  repeated float values = 2;
}

// VideoSegment is a window of a video file.
message VideoSegment {
  // Start of the window, in seconds from the beginning of the file.
  double start_offset_sec = 1;
}

// Usage is what the upstream bills for one input.
message Usage {
  // Seconds of media.
  double media_sec = 1;
}

// Embedding has the name of no generated class today.
message Embedding {
  // The vector.
  Vector vector = 1;
}
""",
    ),
)


def write(directory: Path) -> Path:
    """Copy the contract into a directory, with the additions; return its `proto`.

    Raises:
        ValueError: an anchor is missing: the contract has changed, so this list has to follow.
    """
    proto = directory / "proto"
    shutil.copytree(PROTO, proto)
    text = (proto / EMBEDDING).read_text()
    for anchor, addition in ADDITIONS:
        if anchor not in text:
            raise ValueError(f"not in {EMBEDDING}: {anchor!r}")
        text = text.replace(anchor, anchor + addition, 1)
    (proto / EMBEDDING).write_text(text)
    return proto
