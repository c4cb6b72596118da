import threading

from headstart.inputs.examples import open_examples
from headstart.spec import make_spec
from headstart.transport.upload import Pipe, batches, fine_tune
from headstart.v1 import input_pb2


def example(size: int) -> input_pb2.Example:
    return input_pb2.Example(input=input_pb2.Input(image=bytes(size)), label={"class_name": "a"})


def sizes(examples, **limits) -> list[int]:
    return [len(batch) for batch in batches(examples, **limits)]


def test_a_batch_has_at_most_so_many_examples():
    assert sizes([example(1)] * 600) == [256, 256, 88]


def test_a_batch_has_at_most_so_many_bytes():
    assert sizes([example(400_000)] * 5) == [2, 2, 1]


def test_an_example_that_is_too_large_by_itself_gets_its_own_batch():
    assert sizes([example(10), example(3_000_000), example(10), example(10)]) == [1, 1, 2]


def test_the_message_of_a_batch_stays_within_the_bytes():
    source = open_examples([(bytes(n), "label") for n in range(0, 9000, 7)])
    upload = fine_tune(make_spec("m", {}), source)

    _, *parts = upload

    assert max(part.message.ByteSize() for part in parts) <= 2**20
    assert parts[-1].count == 1286


def test_no_more_is_read_than_the_batch_and_the_example_that_did_not_fit():
    read = []

    def endless():
        while True:
            read.append(1)
            yield example(1)

    next(batches(endless(), max_examples=10))

    assert len(read) == 11


def test_nothing_makes_no_batch():
    assert sizes([]) == []


def test_what_is_put_into_a_pipe_comes_out_in_order():
    pipe = Pipe[int](capacity=2)
    out = []
    reader = threading.Thread(target=lambda: out.extend(pipe))
    reader.start()

    assert all(pipe.put(n) for n in range(100))
    pipe.finish()
    reader.join(60)

    assert out == list(range(100))


def test_a_pipe_that_is_closed_takes_and_gives_nothing_more():
    pipe = Pipe[int]()
    pipe.put(1)

    pipe.close()

    assert not pipe.put(2)
    assert list(pipe) == []


def test_closing_a_full_pipe_frees_who_waits_for_room():
    pipe = Pipe[int](capacity=1)
    pipe.put(1)
    results = []
    writer = threading.Thread(target=lambda: results.append(pipe.put(2)))
    writer.start()

    pipe.close()
    writer.join(60)

    assert results == [False]


def test_a_pipe_is_drained_when_its_reader_has_everything():
    pipe = Pipe[int]()
    pipe.put(1)
    results = []
    writer = threading.Thread(target=lambda: results.append(pipe.drain()))
    writer.start()

    assert results == []
    assert next(pipe) == 1
    writer.join(60)

    assert results == [True]


def test_a_pipe_that_is_closed_is_not_drained():
    pipe = Pipe[int]()
    pipe.put(1)

    pipe.close()

    assert not pipe.drain()
