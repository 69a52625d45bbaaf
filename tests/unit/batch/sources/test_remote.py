"""Buckets as sources: keys, versions, contents that can be read again, and failures of the store."""

import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from embedwire import Audio, Image, files
from embedwire.batch.records import Record
from embedwire.batch.sources import read
from embedwire.batch.sources.ahead import AHEAD, in_order
from embedwire.batch.sources.files import Entry
from embedwire.batch.sources.remote import BLOCK_BYTES, RemoteStore
from tests.support.http import serving_files
from tests.support.media import flac, padded_wav, png
from tests.unit.batch.sources.reading import bucket, content, found
