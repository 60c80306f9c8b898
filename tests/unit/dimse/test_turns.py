"""Those who move much wait for each other, first come, first served, and nobody else waits for them."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.associations import RawPeer
from tests.support.sinks import MemorySink
from vna.dimse.storage_scp import storage_scp
from vna.dimse.turns import BULK, BULK_BYTES, Turns
from vna.model import Local


def wait_until(is_so: threading.Event) -> None:
    assert is_so.wait(30), "waited in vain"


def test_no_more_than_so_many_have_a_turn_at_once() -> None:
    turns, lock = Turns(2), threading.Lock()
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with turns:
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0)
                with lock:
                    inside -= 1

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result()
    assert most == 2


def test_turns_are_had_in_the_order_of_coming() -> None:
    turns, order = Turns(1), list[int]()

    def work(number: int) -> None:
        with turns:
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    with turns:
        for number, thread in enumerate(threads, 1):
            thread.start()
            end = time.monotonic() + 30
            while len(turns._queue) < number:
                assert time.monotonic() < end, "waited in vain"
                time.sleep(0.001)
    for thread in threads:
        thread.join(30)
    assert order == [0, 1, 2, 3, 4]


def test_a_turn_ends_with_whatever_is_raised_in_it() -> None:
    turns = Turns(1)
    for _ in range(2):
        with pytest.raises(OSError, match="no disk"), turns:
            raise OSError("no disk")


def test_echoes_and_small_objects_are_served_while_large_ones_wait_for_their_turns() -> None:
    sink = MemorySink()
    large, begun = bytes(BULK_BYTES + (1 << 20)), threading.Event()
    sink.during_write = lambda length: begun.set() if length > BULK_BYTES // 2 else None
    with (
        storage_scp(Local(ae_title="VNA"), sink, port=0) as scp,
        RawPeer(scp.port, timeout_s=60) as sender,
        RawPeer(scp.port) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        with contextlib.ExitStack() as held:
            for _ in range(BULK._free):
                held.enter_context(BULK)
            sent = pool.submit(sender.associate().store, "1.2.1", large)
            wait_until(begun)
            assert other.associate().echo() == 0
            assert other.store("1.2.2", bytes(100_000)) == 0
            assert list(sink.data_sets) == ["1.2.2"]
        assert sent.result(60) == 0
    assert sink.data_sets["1.2.1"] == large
