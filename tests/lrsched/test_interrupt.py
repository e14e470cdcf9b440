"""Ctrl-C waits for the end of what must be whole, is not lost, and ends all else as ever."""

import signal
import sys
import threading

import pytest

from lrsched.rewind.interrupt import WholeEnd, deferred_interrupt, single_interrupt


def interrupt():
    signal.raise_signal(signal.SIGINT)


def at_the_start_of(name, act=interrupt):
    """Act when a function of this name is entered, before it does anything."""

    def watch(frame, event, argument):
        if event == "call" and frame.f_code.co_name == name:
            sys.setprofile(None)
            act()

    sys.setprofile(watch)


@pytest.fixture(autouse=True)
def the_handler_is_as_before():
    before = signal.getsignal(signal.SIGINT)
    yield
    sys.setprofile(None)
    now = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    assert now is before


class Whole(WholeEnd):
    """Counts its ends."""

    def __init__(self, ending=lambda: None, owner=None):
        super().__init__(owner)
        self.ending, self.entered, self.ended = ending, False, 0

    def __enter__(self):
        self.entered = True
        return super().__enter__()

    def _put_back(self):
        self.ending()
        self.ended += 1


def interrupted(context, done):
    with context:
        interrupt()
        done.append("the rest")


def test_a_deferred_one_comes_at_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(deferred_interrupt(), done)
    assert done == ["the rest"]


def test_without_one_nothing_happens():
    with deferred_interrupt():
        pass
    with Whole() as whole:
        pass
    assert whole.ended == 1


def test_the_first_ends_the_block_at_once():
    done, whole = [], Whole()
    with pytest.raises(KeyboardInterrupt):
        interrupted(whole, done)
    assert (done, whole.ended) == ([], 1)


def body_with_another(whole):
    with whole:
        try:
            interrupt()
        finally:
            interrupt()


@pytest.mark.parametrize("number", [1, 5])
def test_those_that_come_at_the_end_wait_for_it(number):
    def ending():
        for _ in range(number):
            interrupt()

    whole = Whole(ending)
    with pytest.raises(KeyboardInterrupt), whole:
        pass
    assert whole.ended == 1
    again = Whole(ending)
    with pytest.raises(KeyboardInterrupt):
        body_with_another(again)
    assert again.ended == 1


def test_the_end_is_whole_where_the_block_has_set_a_handler_of_its_own():
    whole, own = Whole(interrupt), signal.default_int_handler
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), whole:
            signal.signal(signal.SIGINT, own)
        assert whole.ended == 1
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_one_that_comes_in_the_end_of_the_owner_waits():
    class Owner:
        def __enter__(self):
            self.whole = Whole(owner=self)
            self.whole.__enter__()

        def __exit__(self, *error):
            interrupt()
            self.whole.__exit__(*error)

    owner = Owner()
    with pytest.raises(KeyboardInterrupt), owner:
        pass
    assert owner.whole.ended == 1


def test_the_end_is_whole_from_its_very_start():
    whole = Whole()
    with pytest.raises(KeyboardInterrupt), whole:
        at_the_start_of("__exit__")
    assert whole.ended == 1


@pytest.mark.parametrize("name", ["getsignal", "signal"])
@pytest.mark.parametrize("make", [Whole, deferred_interrupt])
def test_one_that_comes_while_the_handler_is_taken_away_leaves_none(make, name):
    with pytest.raises(KeyboardInterrupt), make():
        at_the_start_of(name)


def test_one_at_the_end_of_the_beginning_leaves_no_handler(monkeypatch):
    whole, reached = Whole(), []
    enter = single_interrupt.__enter__

    def enter_late(self):
        enter(self)
        interrupt()

    def begin():
        with whole:
            reached.append("the block")

    monkeypatch.setattr(single_interrupt, "__enter__", enter_late)
    with pytest.raises(KeyboardInterrupt):
        begin()
    assert whole.entered
    assert reached == []


def test_one_that_was_caught_does_not_make_the_next_wait():
    whole = Whole()
    caught = 0
    with whole:
        for _ in range(3):
            try:
                interrupt()
            except KeyboardInterrupt:
                caught += 1
    assert caught == 3


def test_a_handler_that_raises_nothing_gets_each_at_once():
    got = []
    before = signal.signal(signal.SIGINT, lambda number, frame: got.append(number))
    try:
        with Whole(interrupt):
            for count in range(3):
                assert len(got) == count
                interrupt()
        assert got == [signal.SIGINT] * 4
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
@pytest.mark.parametrize("make", [Whole, deferred_interrupt])
def test_what_is_no_python_stays(handler, make):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with make():
            assert signal.getsignal(signal.SIGINT) is handler
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("make", [Whole, deferred_interrupt])
def test_a_handler_that_was_set_in_between_stays(make):
    before = signal.getsignal(signal.SIGINT)

    def own(number, frame):
        """Nothing."""

    try:
        with make():
            ours = signal.signal(signal.SIGINT, own)
        assert signal.getsignal(signal.SIGINT) is own
        # what was set in between may put back the one that it found
        signal.signal(signal.SIGINT, ours)
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_one_waits_for_all_that_it_is_in():
    inner, outer = Whole(interrupt), Whole(interrupt)

    def both():
        with outer:
            body_with_another(inner)

    with pytest.raises(KeyboardInterrupt):
        both()
    assert (inner.ended, outer.ended) == (1, 1)


def test_what_has_waited_for_an_inner_end_does_not_wait_for_the_outer_one_too():
    inner, outer, reached = Whole(interrupt), Whole(), []

    def both():
        with outer:
            with inner:
                pass
            reached.append("the block of the outer one")

    with pytest.raises(KeyboardInterrupt):
        both()
    assert reached == []
    assert (inner.ended, outer.ended) == (1, 1)


@pytest.mark.parametrize("make", [Whole, deferred_interrupt])
def test_another_thread_has_none(make):
    def enter():
        with make():
            seen.append(signal.getsignal(signal.SIGINT))

    seen = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
