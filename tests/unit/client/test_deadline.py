from headstart.transport.retries import Deadline


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_returns_the_time_left():
    clock = Clock()
    deadline = Deadline(10, clock)
    clock.now = 104

    assert deadline.remaining() == 6
    assert deadline.within(30) == 6
    assert deadline.within(2) == 2
    assert not deadline.passed


def test_a_deadline_that_has_passed_leaves_nothing():
    clock = Clock()
    deadline = Deadline(10, clock)
    clock.now = 200

    assert deadline.remaining() == 0
    assert deadline.passed


def test_no_deadline_never_passes():
    deadline = Deadline(None)

    assert deadline.remaining() is None
    assert deadline.within(30) == 30
    assert not deadline.passed
