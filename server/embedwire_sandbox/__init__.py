"""The sandbox: an embedded imitation of the upstream's Embed API, for trying and testing without a key.

It speaks the v1 dialect (`POST /v1.3/embed`, multipart) so that the official SDK cannot tell the difference, with
the models Marengo 2.7 and 3.0, their limits, their errors and their rate-limit headers.

**Its vectors are not Marengo's.** They are plain features of the content: hashed words and pieces of words, what can
be seen in a picture, the spectrum of a sound. Near content gives near vectors within one modality, and nothing at
all can be said across modalities: a text is not near the picture that it describes. The `transcription` segments of
a sound hold the movement of its loudness; no speech is recognised. Every reply carries the header
`Embedwire-Upstream: sandbox`, so that none is mistaken for the real service's.

**Its tokens are not Marengo's either**: a token is a run of word characters, or one other character that is not white
space.

It stands alone: it imports nothing else of the server, reads no environment, and can run as a server of its own.
"""

from embedwire_sandbox.endpoint import Visit
from embedwire_sandbox.fault_script import Fault, FaultScript
from embedwire_sandbox.options import SandboxOptions
from embedwire_sandbox.server import Sandbox

__all__ = ["Fault", "FaultScript", "Sandbox", "SandboxOptions", "Visit"]
