"""Sandbox: an embedded mock of the upstream's Embed API, for trying and testing without a key.

It implements the v1 dialect (`POST /v1.3/embed`, multipart) and the v2 dialect (`POST /v1.3/embed-v2`, its tasks, and
assets) for unchanged clients such as the official SDK, with the models Marengo 2.7, 3.0 and 3.5, their limits, their
errors and their rate-limit headers.

**Its vectors are not Marengo's.** They are plain features of the content: hashed words and character n-grams, colours
and edges of an image, the spectrum of audio. Similar content gives similar vectors within one modality, but not across
modalities: a text is not near the image that it describes. The `transcription` segments of audio contain its changes of
loudness; no speech is recognised. Every response has the header `Embedwire-Upstream: sandbox`, so that none is mistaken
for one of the real service.

**Its tokens are not Marengo's either**: a token is a run of word characters, or one other character that is not white
space.

It is self-contained: it imports nothing else of the server, reads no environment, and can run as a server of its own.
"""

from embedwire_sandbox.calls import RecordedRequest
from embedwire_sandbox.faults.script import Fault, FaultScript
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.server import Sandbox

__all__ = ["Fault", "FaultScript", "RecordedRequest", "Sandbox", "SandboxOptions"]
