"""A scrub repairs from a copy in a bucket as it does from one in a folder, and leaves the bucket as it was."""

from __future__ import annotations

import random
from pathlib import Path

from tests.support.s3 import S3Service
from tests.support.s3_proxy import Fault, s3_proxy
from tests.unit.scrub.rot import content, filled, flip_bit, objects
from vna.ledger import Ledger
from vna.scrub import ScrubOptions, run
from vna.store import open_store
from vna.store.s3 import Retry, S3Store


def test_injuries_are_repaired_from_a_bucket_over_a_bad_network(s3: S3Service, tmp_path: Path) -> None:
    archive = filled(tmp_path / "archive")
    good = content(archive.root)
    url = s3.url()
    bucket = open_store(url, s3.storage_options())
    for path in objects(archive.root):
        bucket.put_file(path, str(path.relative_to(archive.root)))
    keys, requests = s3.keys(url), random.Random(3)
    dice = random.Random(5)
    injured = dice.sample(objects(archive.root), 8)
    for path in injured:
        flip_bit(path, dice)

    with s3_proxy(s3.port) as proxy, Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        proxy.decide = lambda request: requests.choice([Fault.NONE, Fault.NONE, Fault.SHORT_BODY, Fault.SLOW_DOWN])
        copy = S3Store(url, s3.storage_options(proxy.port), retry=Retry(first_wait_s=0.001, longest_wait_s=0.01))
        result = run(archive, ledger, ScrubOptions(), copy=copy)
        assert proxy.requests.keys() <= {"head", "get"}

    assert (result.repaired, len(result.corrupt)) == (8, 8)
    assert content(archive.root).items() >= good.items()
    assert s3.keys(url) == keys


def test_a_copy_that_cannot_be_read_repairs_nothing_and_says_so(moto: S3Service, tmp_path: Path) -> None:
    archive = filled(tmp_path / "archive")
    flip_bit(objects(archive.root)[0], random.Random(1))
    before = content(archive.root)
    with s3_proxy(moto.port) as proxy, Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        proxy.decide = lambda request: Fault.EXPIRED
        copy = S3Store(moto.url(), moto.storage_options(proxy.port))
        result = run(archive, ledger, ScrubOptions(), copy=copy)
    assert [finding.detail for finding in result.corrupt] == ["COPY_UNREADABLE"]
    assert content(archive.root) == before
