"""Archives of one example, for feedback that no version has learned yet."""

import json
import uuid
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from headstart_server.datasets.example_archive import archive_name, member_name
from headstart_server.embedding.cache import content_digest
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.stored_content import encode
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.storage.disk import storage_errors
from headstart_server.storage.folder import Folder


def write_single(
    folder: Folder, archive: str, example: Example, index_name: str
) -> tuple[StoredExample, int]:
    """Write the archive of one example; it is durable when this returns.

    Args:
        index_name: the name of the member that lists the examples.

    Returns:
        The example, and the bytes of the archive.

    Raises:
        StorageUnavailable: the bucket does not answer.
    """
    kind, content = encode(example.content)
    stored = StoredExample(
        target=example.target,
        id=example.id,
        held_out=example.held_out,
        digest=content_digest(example.content),
        kind=kind,
        weight=example.weight,
        archive=archive,
    )
    listed = json.dumps(ExampleList(examples=[stored]).to_json(), ensure_ascii=False)
    staged = folder.staging_path(f"{archive}.{uuid.uuid4().hex}.zip")
    try:
        with storage_errors(), ZipFile(staged, "w", ZIP_STORED) as members:
            members.writestr(member_name(stored.member), content)
            members.writestr(index_name, listed, compress_type=ZIP_DEFLATED)
        with storage_errors():
            nbytes = staged.stat().st_size
        folder.commit(archive_name(archive), staged=staged)
    finally:
        staged.unlink(missing_ok=True)
    return stored, nbytes
