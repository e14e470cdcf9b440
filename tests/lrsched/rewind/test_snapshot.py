"""A snapshot as a whole: the state of the process, what is under way, and its end."""

import os
import random
import signal
import threading
import warnings
from contextlib import ExitStack

import numpy as np
import pytest

from lrsched.rewind.kinds import Kind
from lrsched.rewind.registry import new_registry
from lrsched.rewind.restore_on_exit import DeferredInterrupt, RestoreOnExit
from lrsched.rewind.snapshot import Snapshot
from lrsched.rewind.values import PROCESS, Source
from tests.lrsched.rewind.helpers import REGISTRY, Bag, snapshot


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


class TestTheProcess:
    def drawn(self):
        return random.random(), float(np.random.random())

    @pytest.mark.parametrize("sources", [True, False])
    def test_its_random_numbers_are_restored_or_go_on(self, sources):
        held = Snapshot([], REGISTRY, sources=PROCESS)
        first = self.drawn()
        held.restore(sources=sources)
        assert (self.drawn() == first) == sources

    def test_one_that_refuses_is_named(self):
        def refuse(state):
            raise RuntimeError

        held = Snapshot([], REGISTRY, sources=[Source("the flag", lambda: 1, refuse), *PROCESS])
        first = self.drawn()
        held.restore()
        assert held.differences() == ["the flag"]
        assert self.drawn() == first


def test_a_new_kind_is_one_entry_of_a_registry():
    class Meter:
        __slots__ = ("log", "value")

    def capture(meter):
        value = meter.value
        return lambda: (setattr(meter, "value", value), meter.log.append("restored"))

    meter = Meter()
    meter.value, meter.log = 0, []
    registry = new_registry()
    registry.add(Kind(capture=capture, attributes=lambda meter: {}), Meter)
    held = Snapshot([("model", meter)], registry)
    meter.value = 1
    held.restore()
    assert (meter.value, meter.log) == (0, ["restored"])


def test_what_is_under_way_is_resumed_before_the_restoring():
    order = []

    def suspend(stream):
        order.append("suspend")
        return lambda: order.append("resume")

    class Stream:
        pass

    registry = new_registry()
    kind = Kind(capture=lambda v: lambda: order.append("restore"), suspend=suspend)
    registry.add(kind, Stream)
    held = Snapshot([("data", Stream())], registry)
    held.suspend()
    held.suspend()
    held.restore()
    held.restore()
    assert order == ["suspend", "resume", "restore", "restore"]


class TestRestoreOnExit:
    def test_it_restores_the_last_first_and_names_what_it_could_not(self):
        def run():
            with RestoreOnExit(first, snapshot(numbers), remedy=" Pass it.") as end:
                end.parts.append(snapshot(values))
                numbers.append(3)
                values[0] = 1
                values.flags.writeable = False
            return end

        numbers, values = [1], np.zeros(2)
        first = snapshot(numbers)
        numbers.append(2)
        with pytest.warns(UserWarning, match=r"put back: model\.kept\. Pass it\.") as caught:
            end = run()
        assert caught[0].filename == __file__
        assert numbers == [1]
        assert end.notes == ["The range test could not put back: model.kept."]

    @pytest.mark.parametrize("first", [True, False])
    def test_ctrl_c_while_it_restores_waits_until_everything_is_back(self, first):
        class Interrupting(Bag):
            """A part whose restoring gets a Ctrl-C."""

            def restore(self):
                interrupt()

            def differences(self):
                return []

            notes = differences

        def run():
            with RestoreOnExit(snapshot(numbers), Interrupting()):
                numbers.append(2)
                if first:
                    interrupt()

        numbers, handler = [1], signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            run()
        assert numbers == [1]
        assert signal.getsignal(signal.SIGINT) is handler


class TestDeferredInterrupt:
    @pytest.mark.parametrize("within", [1, 2])
    @pytest.mark.parametrize("fails", [False, True])
    def test_a_real_ctrl_c_comes_at_the_end_of_the_outermost_block(self, within, fails):
        done = []

        def block():
            with ExitStack() as stack:
                for _ in range(within):
                    stack.enter_context(DeferredInterrupt())
                interrupt()
                done.append(1 // (0 if fails else 1))

        with pytest.raises(KeyboardInterrupt) as caught:
            block()
        assert done == ([] if fails else [1])
        assert isinstance(caught.value.__context__, ZeroDivisionError) == fails

    def test_a_handler_of_the_users_is_called_and_stays(self):
        calls = []
        before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
        try:
            with DeferredInterrupt():
                interrupt()
                assert calls == []
            assert calls == [1]
        finally:
            signal.signal(signal.SIGINT, before)

    def test_another_thread_and_an_ignored_ctrl_c_are_left_alone(self):
        def enter():
            with DeferredInterrupt():
                handlers.append(signal.getsignal(signal.SIGINT))

        handlers = []
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert handlers == [signal.getsignal(signal.SIGINT)]
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with DeferredInterrupt():
                assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGINT, before)


def test_nothing_is_said_where_nothing_is_left():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with RestoreOnExit(snapshot([1])) as end:
            pass
    assert end.notes == []


def test_trials_in_two_threads_are_warned_of_and_noted_by_both():
    first, notes = RestoreOnExit(), []

    def second():
        with pytest.warns(UserWarning, match="another range test runs in another thread"):
            other = RestoreOnExit().__enter__()
        other.__exit__()
        notes.append(other.notes)

    with first:
        # One in another is the user's own.
        with RestoreOnExit() as inner:
            pass
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert inner.notes == []
    assert notes == [first.notes]
    assert "runs in another thread" in first.notes[0]
    with RestoreOnExit() as after:
        pass
    assert after.notes == []
