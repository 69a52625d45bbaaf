"""The uploads in chunks of a sandbox."""

from embedwire_sandbox.assets.upload import ChunkedUpload
from embedwire_sandbox.errors import no_resource


class UploadStore:
    """Uploads by id. Each belongs to the API key that created it, and does not exist for others."""

    def __init__(self) -> None:
        self._uploads: dict[str, ChunkedUpload] = {}

    def close(self) -> None:
        """Forget all uploads, and delete the files of those that are not complete."""
        for upload in self._uploads.values():
            if not upload.completed:
                upload.file.close()
        self._uploads.clear()

    @property
    def incomplete(self) -> list[ChunkedUpload]:
        """Uploads of all keys that have not become an asset, oldest first."""
        return [upload for upload in self._uploads.values() if not upload.completed]

    def add(self, upload: ChunkedUpload) -> None:
        """Add an upload; its file belongs to the store until it is complete."""
        self._uploads[upload.id] = upload

    def find(self, upload_id: str) -> ChunkedUpload | None:
        """Return the upload of any key, or `None`."""
        return self._uploads.get(upload_id)

    def get(self, owner: str, upload_id: str) -> ChunkedUpload:
        """Return an upload.

        Raises:
            RefusalError: 404: there is none of this id for this key.
        """
        upload = self._uploads.get(upload_id)
        if upload is None or upload.owner != owner:
            raise no_resource("upload")
        return upload

    def active(self, owner: str, upload_id: str) -> ChunkedUpload:
        """Return an upload that has not expired.

        Raises:
            RefusalError: 404: there is none of this id for this key any more.
        """
        upload = self.get(owner, upload_id)
        if upload.status == "expired":
            raise no_resource("upload")
        return upload
