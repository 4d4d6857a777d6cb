"""Claims without Kafka: however workers take turns and die, each content is kept, and exactly once."""

from __future__ import annotations

import types
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.claims import ClaimTable, Owner, claims_of, confirmations_of, settle


@types.coroutine
def pause():
    """Give the test the choice of who goes on."""
    yield


class World:
    """The log of claims, and the lanes' outputs: all that is durable."""

    def __init__(self, documents):
        self.documents = documents  # lane -> contents, by raw offset
        self.log = []
        self.outputs = {lane: [] for lane in documents}  # what became of each offset: True where it was kept
        self.told = {}  # (lane, offset) -> owner, of the verdicts that were ever reached

    async def life(self, lane, begin=0):
        """One worker, from its start to the end of its lane, a document a round."""
        table, at = ClaimTable(10_000), begin

        async def read_to(end):
            nonlocal at
            await pause()
            while at < end:
                table.apply(self.log[at])
                at += 1

        async def append(value):
            await pause()
            self.log.append(value)
            await read_to(len(self.log))

        while (offset := len(self.outputs[lane])) < len(self.documents[lane]):
            content = self.documents[lane][offset]
            await read_to(len(self.log))
            await settle(table, lane, {content: offset}, append)
            owner = table.owner(content)
            assert begin or self.told.setdefault((lane, offset), owner) == owner
            await pause()
            self.outputs[lane].append(owner == (lane, offset))

    def run(self, lives, data, kills):
        """Let lives go on in any order, killed anywhere, until all are done."""
        for _ in range(200):
            if not lives:
                return
            lane = data.draw(st.sampled_from(sorted(lives)))
            if kills and data.draw(st.integers(0, 9)) == 0:
                lives[lane].close()  # the next life knows the logs alone
                lives[lane] = self.life(lane)
            if ended(lives[lane]):
                del lives[lane]
        for life in lives.values():  # whatever is left, one after another
            while not ended(life):
                pass

    def kept(self):
        return Counter(
            content
            for lane, outputs in self.outputs.items()
            for content, kept in zip(self.documents[lane], outputs, strict=True)
            if kept
        )


def ended(life):
    """Take one step; whether it was the last."""
    try:
        life.send(None)
    except StopIteration:
        return True
    return False


pytestmark = pytest.mark.filterwarnings("ignore:coroutine")  # lives that never began
lanes = st.dictionaries(st.integers(0, 3), st.lists(st.integers(1, 4), max_size=5), min_size=1)


@settings(max_examples=60)
@given(lanes, st.data())
def test_every_content_is_kept_exactly_once_wherever_workers_die(documents, data):
    world = World(documents)
    world.run({lane: world.life(lane) for lane in documents}, data, kills=True)
    contents = {content for contents in documents.values() for content in contents}
    assert world.kept() == dict.fromkeys(contents, 1)


@settings(max_examples=60)
@given(lanes, st.data())
def test_a_lane_that_comes_back_when_its_claim_is_forgotten_loses_nothing(documents, data):
    world = World(documents)
    victim = data.draw(st.sampled_from(sorted(documents)))
    lives = {lane: world.life(lane) for lane in documents}
    for _ in range(data.draw(st.integers(0, 40))):  # all go on, until one is gone for long
        if lives and ended(lives[lane := data.draw(st.sampled_from(sorted(lives)))]):
            del lives[lane]
    gone = lives.pop(victim, None)
    world.run(lives, data, kills=True)
    if gone is not None:
        gone.close()
        world.run({victim: world.life(victim, data.draw(st.integers(0, len(world.log))))}, data, kills=False)
    assert set(world.kept()) == {content for contents in documents.values() for content in contents}


def test_the_first_claim_wins_and_the_loser_confirms_it():
    table = ClaimTable(100)
    table.apply(claims_of(3, {77: 5, 78: 6}))
    table.apply(claims_of(4, {77: 9, 79: 2**47}))
    assert [table.owner(c) for c in (77, 78, 79, 80)] == [Owner(3, 5), Owner(3, 6), Owner(4, 2**47), None]
    assert table.losing == {(77, Owner(4, 9)): Owner(3, 5)}
    table.apply(confirmations_of({77: Owner(3, 5)}))
    assert table.losing == {}
    assert table.owner(77) == Owner(3, 5)
    table.apply(b"somebody else's")
    late = ClaimTable(100)  # one that reads from the loser's claim on
    late.apply(claims_of(4, {77: 9}))
    late.apply(confirmations_of({77: Owner(3, 5)}))
    assert late.owner(77) == Owner(3, 5)


def test_it_forgets_the_oldest_and_is_bounded():
    table = ClaimTable(5000)
    for n in range(1, 12_001):
        table.apply(claims_of(n % 4096, {n: n}))
    assert table.owner(7000) is None
    assert table.owner(7001) == Owner(7001 % 4096, 7001)
    assert table.nbytes / 5000 <= 40


def test_who_lost_a_race_and_died_confirms_the_winner_before_it_drops():
    world = World({0: [7], 1: [7]})
    world.log = [claims_of(0, {7: 0}), claims_of(1, {7: 0})]  # both claimed, and both workers died
    loser = world.life(1)
    while not ended(loser):
        pass
    assert world.outputs[1] == [False]
    assert world.log[2:] == [confirmations_of({7: Owner(0, 0)})]
    for begin in range(4):  # whatever the winner remembers when it comes back
        world.outputs[0] = []
        winner = world.life(0, begin)
        while not ended(winner):
            pass
        assert world.outputs[0] == [True]
