"""Where the messages of other protocols live: apart from all others of this process.

TensorFlow, once imported, registers messages of the same names, and so do the clients of these protocols.
protobuf takes each name once in a pool, so ours have one of their own.
"""

from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
for _each in (any_pb2, wrappers_pb2):
    POOL.AddSerializedFile(_each.DESCRIPTOR.serialized_pb)
