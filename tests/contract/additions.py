"""A copy of the contract with the likely additions of the next year, which tests compile. It is never shipped."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
EMBEDDING = Path("embedwire/v1/embedding.proto")

# Text that follows the first occurrence of each anchor.
ADDITIONS = (
    # An asset as a source, and a video with options of segmentation.
    (
        "    UploadSource upload = 3;\n",
        "\n    // The identifier of a file that the upstream already has.\n    string asset_id = 4;\n",
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
        "  optional double start_offset_sec = 2;\n",
        """
  // Where to end, in seconds from the beginning of the file. Unset is the end of the file.
  optional double end_offset_sec = 3;

  // How the file is divided into segments.
  Segmentation segmentation = 4;
""",
    ),
    # An event that reports progress, and a message with the likeliest name.
    (
        "    InputResult result = 2;\n",
        "\n    // How far one input is.\n    Progress progress = 3;\n",
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
        "\n    // Of a video file.\n    VideoSegment video = 8;\n",
    ),
    (
        "  Failure failure = 12;\n",
        "\n  // What the upstream bills.\n  Usage usage = 13;\n",
    ),
    (
        "  int32 attempts = 9;\n}\n",
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

// Segmentation says how a file is divided.
message Segmentation {
  // Which method divides it.
  oneof method {
    // Windows of this many seconds.
    double window_sec = 1;

    // At changes of the scene.
    bool scenes = 2;
  }
}

// Progress reports how far one input is.
message Progress {
  // Which input, counted from 0 in the request.
  int32 input_index = 1;

  // The done part, from 0 to 1.
  double done = 2;
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
